-- name: make_tools
-- Functions of this session only: tables as values, which a statement's parameters cannot be.
do $tools$
begin
    -- Rows and a checksum that does not depend on their order. Of a folded state (`state`) the set `applied` is put in
    -- order first, since a set has none.
    create or replace function pg_temp.checksum(wanted text, out rows bigint, out checksum numeric)
    language plpgsql as $$
    declare
        has_state boolean := exists (
            select from pg_attribute where attrelid = to_regclass(wanted) and attname = 'state' and not attisdropped
        );
        whole text := case when has_state then
            $v$(to_jsonb(t) - 'state')::text || (t.state::jsonb - 'applied')::text || coalesce((
                select string_agg(a, ' ' order by a) from jsonb_array_elements_text(t.state::jsonb -> 'applied') a
            ), '')$v$ else 't::text' end;
    begin
        execute format('select count(*), coalesce(sum(hashtextextended(%s, 0)), 0) from %I t', whole, wanted)
        into rows, checksum;
    end $$;

    -- Empty temporary tables before the real ones: what is written from now on in this session goes there.
    create or replace function pg_temp.shadow_tables(wanted text) returns int
    language plpgsql as $$
    declare
        name text;
        made int := 0;
    begin
        for name in select tablename from pg_tables where schemaname = wanted and tablename <> 'migrations' loop
            execute format('create temp table %I (like %I.%I including all)', name, wanted, name);
            made := made + 1;
        end loop;
        return made;
    end $$;
end $tools$;

-- name: checksum
-- Rows and order-independent checksum of one table.
select rows, checksum from pg_temp.checksum($1);

-- name: shadow
-- Put empty temporary tables before all tables of a schema.
select pg_temp.shadow_tables($1);

-- name: claimed
-- Which of these cases a claim leads to.
select subject from claims where subject = any ($1::text[]);
