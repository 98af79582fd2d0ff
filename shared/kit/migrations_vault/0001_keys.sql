-- Keys of cases and counties, each wrapped by a master key that never comes here. Only the role vault reads the table;
-- the services reach it by the functions below, which run as vault, each granted to those who need it.

create table keys (
    id uuid primary key,                          -- of the case; of a county, derived from its code
    kind text not null check (kind in ('case', 'county')),
    region text not null check (region ~ '^[0-9]{12}$'),
    master text not null,                         -- the id of the master key that wraps it
    wrapped bytea,                                -- null: destroyed
    generation int not null default 1,            -- of the look-up secret, which is derived and not kept
    proven boolean not null,                      -- its case was seen on the log
    created_at timestamptz not null,
    destroyed_at timestamptz,
    check ((wrapped is null) = (destroyed_at is not null))
);
create index keys_unproven on keys (created_at) where not proven;
create index keys_by_master on keys (master) where wrapped is not null;

create function new_keys(ids uuid[], regions text[], master text, wraps bytea[], at timestamptz)
returns table (id uuid, master text, wrapped bytea) language sql security definer set search_path = vault, pg_temp as $$
    insert into keys (id, kind, region, master, wrapped, proven, created_at)
    select i.id, 'case', i.region, $3, i.wrapped, false, $5 from unnest($1, $2, $4) as i (id, region, wrapped)
    on conflict do nothing;
    select k.id, k.master, k.wrapped from keys k where k.id = any ($1);
$$;

create function county_key(id uuid, county text, master text, wrap bytea, at timestamptz)
returns table (id uuid, master text, wrapped bytea) language sql security definer set search_path = vault, pg_temp as $$
    insert into keys (id, kind, region, master, wrapped, proven, created_at)
    values ($1, 'county', $2, $3, $4, true, $5) on conflict do nothing;
    select k.id, k.master, k.wrapped from keys k where k.id = $1;
$$;

create function read_keys(ids uuid[])
returns table (id uuid, master text, wrapped bytea, generation int)
language sql stable security definer set search_path = vault, pg_temp as $$
    select k.id, k.master, k.wrapped, k.generation from keys k where k.id = any ($1) and k.kind = 'case';
$$;

create function next_generation(id uuid, after int)
returns int language sql security definer set search_path = vault, pg_temp as $$
    update keys k set generation = k.generation + 1 where k.id = $1 and k.kind = 'case' and k.generation = $2;
    select k.generation from keys k where k.id = $1 and k.kind = 'case';
$$;

create function destroy(id uuid, at timestamptz)
returns boolean language sql security definer set search_path = vault, pg_temp as $$
    update keys k set wrapped = null, destroyed_at = $2
    where k.id = $1 and k.kind = 'case' and k.destroyed_at is null;
    select exists (select from keys k where k.id = $1 and k.kind = 'case');
$$;

create function unproven(before timestamptz, most int)
returns setof uuid language sql stable security definer set search_path = vault, pg_temp as $$
    select k.id from keys k where not k.proven and k.created_at < $1 order by k.created_at limit $2;
$$;

create function judge(proven uuid[], orphans uuid[])
returns void language sql security definer set search_path = vault, pg_temp as $$
    update keys k set proven = true where k.id = any ($1);
    delete from keys k where k.id = any ($2) and not k.proven;
$$;

do $$
declare
    f regprocedure;
begin
    for f in select oid::regprocedure from pg_proc where pronamespace = 'vault'::regnamespace loop
        execute format('alter function %s owner to vault', f);
        execute format('revoke all on function %s from public', f);
    end loop;
end $$;

grant usage on schema vault to intake, routing, supervision, reporting;
grant execute on function read_keys(uuid[]) to intake, routing, supervision, reporting;
grant execute on function county_key(uuid, text, text, bytea, timestamptz) to intake, reporting;
grant execute on function new_keys(uuid[], text[], text, bytea[], timestamptz) to intake;
grant execute on function next_generation(uuid, int) to intake;
grant execute on function destroy(uuid, timestamptz) to supervision;
grant execute on function unproven(timestamptz, int) to supervision;
grant execute on function judge(uuid[], uuid[]) to supervision;
