-- name: identify
-- Tell the migrations below which schema and role they work for; identifiers cannot be parameters.
select set_config('caseflow.schema', $1, false), set_config('caseflow.role', $2, false);

-- name: role_exists
-- Whether the role that is to use the schema is there.
select exists (select from pg_roles where rolname = $1);

-- name: create_schema
-- The schema with its record of migrations, owned by whoever migrates; then work inside it.
do $$
declare
    wanted text := current_setting('caseflow.schema');
    member text := current_setting('caseflow.role');
begin
    execute format('create schema if not exists %I', wanted);
    execute format('set search_path = %I, public', wanted);
    execute format('grant usage on schema %I to %I', wanted, member);
    execute format('alter default privileges in schema %I grant select, insert, update, delete, truncate on tables to %I',
                   wanted, member);
    execute format('alter default privileges in schema %I grant usage, select on sequences to %I', wanted, member);
    create table if not exists migrations (
        number int primary key,
        name text not null,
        digest text not null,
        applied_at timestamptz not null default now()
    );
    execute format('revoke insert, update, delete, truncate on migrations from %I', member);
end $$;

-- name: lock_migrations
-- One migrator per database at a time, until the end of the session; the second waits.
select pg_advisory_lock(hashtextextended('caseflow migrations', 0));

-- name: applied_migrations
-- What was applied, in order.
select number, name, digest from migrations order by number;

-- name: record_migration
-- Note a migration in the transaction that applies it.
insert into migrations (number, name, digest) values ($1, $2, $3);

-- name: try_lock
-- Take the advisory lock of this key for as long as the session lives; false when another session holds it.
select pg_try_advisory_lock(hashtextextended($1, 0));

-- name: ping
-- Whether the server answers.
select 1;
