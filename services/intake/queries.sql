-- name: claim
-- Claim registrations by (source, id); an earlier claim stays. In one transaction with the keys of the cases.
insert into claims (source, source_id, digest, subject, claimed_at)
select * from unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::timestamptz[])
on conflict (source, source_id) do nothing;

-- name: read_claims
-- The claims that stand for these sources and ids.
select c.source, c.source_id, c.digest, c.subject
from claims c join unnest($1::text[], $2::text[]) as requested (source, source_id) using (source, source_id);
