-- name: claim
-- Claim registrations by (source, id); an earlier claim stays. In one transaction with the keys of the cases.
insert into claims (source, source_id, digest, subject, claimed_at)
select * from unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::timestamptz[])
on conflict (source, source_id) do nothing;

-- name: read_claims
-- The claims that stand for these sources and ids.
select c.source, c.source_id, c.digest, c.subject
from claims c join unnest($1::text[], $2::text[]) as requested (source, source_id) using (source, source_id);

-- name: claim_body
-- Give a body an id, unless it has one since $4. A row from after $5 was written by a clock that ran ahead.
insert into recent_bodies (digest, source_id, claimed_at) values ($1, $2, $3)
on conflict (digest) do update set source_id = excluded.source_id, claimed_at = excluded.claimed_at
where recent_bodies.claimed_at not between $4 and $5;

-- name: read_body
-- The id that a body has.
select source_id from recent_bodies where digest = $1;

-- name: forget_body
-- Drop the id $2 of a body.
delete from recent_bodies where digest = $1 and source_id = $2;

-- name: forget_bodies
-- Drop bodies that no longer count; what others are at work on is left to them.
delete from recent_bodies where digest in (
    select b.digest from recent_bodies b where b.claimed_at < $1 order by b.claimed_at limit $2 for update skip locked
);
