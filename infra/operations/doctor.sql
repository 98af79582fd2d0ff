-- name: server
-- The server's clock, and whether what it acknowledges is on the disk.
select clock_timestamp() as now, current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit, current_setting('server_version') as version,
       pg_database_size(current_database()) as bytes,
       (select datctype from pg_database where datname = current_database()) as ctype;

-- name: applied
-- The migrations of a schema, none where it is missing. Inside the schema by the search path.
select name, digest from migrations order by number;

-- name: schemas
-- Which of these roles may use which of these schemas.
select r.role, s.schema, has_schema_privilege(r.role, s.schema, 'usage') as allowed
from unnest($1::text[]) as r (role) cross join unnest($2::text[]) as s (schema)
where exists (select from pg_namespace where nspname = s.schema) and exists (select from pg_roles where rolname = r.role);

-- name: oldest_due
-- The moment that waits longest for the ticker, and how many have passed. Inside supervision's schema.
select min(at) as oldest, count(*) as passed from moments where at < $1;

-- name: undelivered
-- Items of webhooks that are parked or wait: their count, their webhooks, and since when the oldest waits. Inside
-- supervision's schema.
select parked_at is not null as parked, count(*) as items, count(distinct webhook) as webhooks, min(since) as oldest
from webhook_items group by 1;
