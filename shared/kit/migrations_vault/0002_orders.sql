-- A supervision order has content of its own, so supervision makes keys too.

grant execute on function new_keys(uuid[], text[], text, bytea[], timestamptz) to supervision;
