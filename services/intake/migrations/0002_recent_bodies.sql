-- Registrations without an Idempotency-Key: the keyed digest of caller and body, and the id that it was given. A row
-- counts for ten minutes and is then dropped.
create table recent_bodies (
    digest bytea primary key,
    source_id text not null,
    claimed_at timestamptz not null
);
create index recent_bodies_claimed_at on recent_bodies (claimed_at);
