-- name: new_keys
-- Insert keys of cases unless they are there; what stands afterwards. For the role intake.
select id, master, wrapped from vault.new_keys($1, $2, $3, $4, $5);

-- name: county_key
-- Insert the key of a county unless it is there; what stands afterwards. For intake and reporting.
select id, master, wrapped from vault.county_key($1, $2, $3, $4, $5);

-- name: read_keys
-- Keys of cases, wrapped; null where destroyed, no row where there never was one.
select id, master, wrapped, generation from vault.read_keys($1);

-- name: next_generation
-- Step the generation on from $2 unless someone did; what it is now, null without a key. For intake.
select vault.next_generation($1, $2);

-- name: destroy
-- Destroy the key of a case for good; whether there is such a case. For supervision.
select vault.destroy($1, $2);

-- name: unproven
-- Keys made before $1 whose case nobody has seen on the log yet, oldest first, at most $2. For supervision.
select vault.unproven($1, $2) as id;

-- name: judge
-- Mark keys as proven ($1) and delete orphans ($2). For supervision.
select vault.judge($1, $2);

-- name: count_stale
-- How many keys are wrapped by another master key than $1. For the role vault.
select count(*) from vault.keys where master <> $1 and wrapped is not null;

-- name: take_stale
-- At most $2 of them, locked until they are replaced. For the role vault.
select id, master, wrapped from vault.keys where master <> $1 and wrapped is not null limit $2 for update;

-- name: replace
-- The same keys wrapped by the master key $1. For the role vault.
update vault.keys k set master = $1, wrapped = n.wrapped
from unnest($2::uuid[], $3::bytea[]) as n (id, wrapped) where k.id = n.id;
