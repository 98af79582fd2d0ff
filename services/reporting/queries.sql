-- name: case_states
-- The folded states of these cases and orders, as they were written.
select subject, state::text as state from cases where id = any ($1::uuid[])
union all
select subject, state::text from orders where id = any ($1::uuid[]);

-- name: write_cases
-- rows: CaseRow
-- Upsert cases with their keys in `seen` and the tallies; returns the ids of the cases that were written. A row that is
-- older than the one in the table is skipped.
with given as materialized (select * from unnest(<arrays>) as g (<columns>)),
before as materialized (
    select c.id, c.ties, c.lane, c.registered_at, c.in_charge, c.status, c.late
    from given g join cases c on c.id = g.id and c.sequence < g.sequence
),
written as (
    insert into cases (<columns>) select <values> from given
    on conflict (id) do update set <updates>
    where cases.sequence < excluded.sequence
    returning id, ties, lane, registered_at, in_charge, status, late
),
moved as materialized (
    select w.id, w.registered_at, w.ties, w.lane, b.ties as old_ties, b.lane as old_lane
    from written w left join before b on b.id = w.id
    where b.id is null or b.lane <> w.lane or b.ties <> w.ties
),
gone as (
    delete from seen s
    using (select m.id, m.registered_at, m.old_lane as lane, unnest(m.old_ties) as who, m.lane as new_lane, m.ties
           from moved m where m.old_ties is not null) o
    where s.who = o.who and s.lane = o.lane and s.registered_at = o.registered_at and s.id = o.id
      and (o.lane <> o.new_lane or o.who <> all (o.ties))
),
come as (
    insert into seen (who, lane, registered_at, id)
    select n.who, n.lane, n.registered_at, n.id
    from (select m.id, m.registered_at, m.lane, unnest(m.ties) as who, m.old_lane, m.old_ties from moved m) n
    where n.old_ties is null or n.lane <> n.old_lane or n.who <> all (n.old_ties)
),
tallied as (
    insert into tallies (in_charge, status, late, count)
    select in_charge, status, late, sum(one)
    from (select in_charge, status, late, 1 as one from written
          union all select in_charge, status, late, -1 from before) t
    group by in_charge, status, late
    having sum(one) <> 0
    order by in_charge, status, late
    on conflict (in_charge, status, late) do update set count = tallies.count + excluded.count
)
select id from written;

-- name: write_orders
-- rows: OrderRow
-- Upsert orders; a row that is older than the one in the table is skipped.
insert into orders (<columns>) select <values> from unnest(<arrays>) as given (<columns>)
on conflict (id) do update set <updates>, issued_at = coalesce(orders.issued_at, excluded.issued_at)
where orders.sequence < excluded.sequence;

-- name: write_sealed
-- Upsert the sealed matter of these cases.
insert into sealed (id, event_id, token) select * from unnest($1::uuid[], $2::text[], $3::text[])
on conflict (id) do update set event_id = excluded.event_id, token = excluded.token;

-- name: forget
-- Delete the sealed matter of erased cases, and their rows in the search index.
with gone as (delete from sealed where id = any ($1::uuid[]))
delete from grams where id = any ($1::uuid[]);

-- name: sealed_of
-- The sealed matter of these cases, to put reopened ones back into the search index.
select id, event_id, token from sealed where id = any ($1::uuid[]);

-- name: write_grams
-- Put cases into the search index (hashes come as the text of an array).
with known as (insert into counties select distinct unnest($2::text[]) on conflict do nothing)
insert into grams (id, county, grams)
select id, county, grams::smallint[] from unnest($1::uuid[], $2::text[], $3::text[]) as g (id, county, grams)
on conflict (id) do update set grams = excluded.grams;

-- name: keep_until
-- Set until when the search finds these cases: some days for cases that ended, null for reopened ones.
update grams g set until = n.until from unnest($1::uuid[], $2::timestamptz[]) as n (id, until) where g.id = n.id;

-- name: sweep_grams
-- Delete from the search index cases whose time is over, at most $2 at once.
delete from grams where id in (select id from grams where until < $1 order by until limit $2);

-- name: clear
-- Empty the read model, for a rebuild.
truncate cases, seen, tallies, sealed, grams, counties, orders;

-- name: checksums
-- The row count and an order-independent checksum of every table that follows from the log alone.
select 'cases' as "table", count(*) as rows, coalesce(sum(hashtextextended(
           (to_jsonb(c) - 'state')::text || (c.state - 'applied')::text
           || (select coalesce(string_agg(a, ' ' order by a), '') from jsonb_array_elements_text(c.state -> 'applied') a),
           0)), 0) as checksum
from cases c
union all
select 'seen', count(*), coalesce(sum(hashtextextended(s::text, 0)), 0) from seen s
union all
select 'tallies', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from tallies t where count <> 0
union all
select 'sealed', count(*), coalesce(sum(hashtextextended(s::text, 0)), 0) from sealed s
union all
select 'orders', count(*), coalesce(sum(hashtextextended(
           (to_jsonb(o) - 'state')::text || (o.state - 'applied')::text
           || (select coalesce(string_agg(a, ' ' order by a), '') from jsonb_array_elements_text(o.state -> 'applied') a),
           0)), 0)
from orders o;

-- name: list_cases
-- A page of cases, newest first, by the keys and buckets of `seen` that can lead to them: at most :rows_max before
-- (:before_at, :before_id). It shows cases that the caller may see; to auditors also the flow facts of their region,
-- without content. Of each key and bucket at most :walked_max cases are read: the page ends at `horizon` where few of
-- them match.
with page as materialized (
    select f.registered_at, f.id, bool_or(f.content) as content
    from unnest(:keys::text[]) as k (who) cross join unnest(:buckets::smallint[]) as l (lane) cross join lateral (
        -- `offset 0` makes the planner read the key in order, one case after another
        select s.registered_at, s.id, m.content
        from (
            select registered_at, id from seen
            where who = k.who and lane = l.lane and (registered_at, id) < (:before_at::timestamptz, :before_id::uuid)
              and registered_at >= :since::timestamptz
            order by registered_at desc, id desc
            limit :walked_max
        ) s cross join lateral (
            select c.in_charge,
                   kit.may_see(:own_person, :own_unit, :own_prefix, :reads, c.region, c.in_charge, c.unit, c.co_units,
                               c.first_asked, c.people, c.complained_unit, c.stand_aside) as content,
                   coalesce(c.complained_unit = :own_unit, false) or :own_person = any (c.stand_aside) as barred
            from cases c
            where c.id = s.id
              and (:region::text is null or starts_with(c.in_charge, :region))
              and (:status::text is null or c.status = :status)
              and (:unit::text is null or c.unit = :unit or :unit = any (c.co_units))
              and (:person::text is null or :person = any (c.people) or c.first_asked = :person)
              and (:subject::text is null or starts_with(c.subject_code, :subject))
              and (:nature::text is null or c.nature = :nature)
            offset 0
        ) m
        where m.content or (:audits and starts_with(m.in_charge, :own_prefix) and not m.barred)
        order by s.registered_at desc, s.id desc
        limit :rows_max
    ) f
    group by f.registered_at, f.id
    order by f.registered_at desc, f.id desc
    limit :rows_max
)
select c.id, c.stream, c.born, c.status, c.nature, c.subject_code, c.severity, c.region, c.in_charge, c.unit, c.person,
       c.registered_at, c.due, c.late, c.version, p.content, s.event_id, s.token
from page p join cases c on c.id = p.id left join sealed s on s.id = p.id and p.content
order by p.registered_at desc, p.id desc;

-- name: horizon
-- The position down to which `list_cases` has read every key and bucket, for the same parameters and not below :down_to;
-- no row when it has read all of them to the end.
select f.registered_at, f.id
from unnest(:keys::text[]) as k (who) cross join unnest(:buckets::smallint[]) as l (lane) cross join lateral (
    select registered_at, id from seen
    where who = k.who and lane = l.lane and (registered_at, id) < (:before_at::timestamptz, :before_id::uuid)
      and registered_at >= :down_to::timestamptz
    order by registered_at desc, id desc
    offset :walked_max::bigint - 1 limit 1
) f
order by f.registered_at desc, f.id desc
limit 1;

-- name: search_cases
-- Candidates of a search among the cases that the caller may see with content, newest first: cases whose hashed pairs
-- contain those of the query under the key of their county. The text of each candidate is compared afterwards.
select c.id, c.stream, c.born, c.status, c.nature, c.subject_code, c.severity, c.region, c.in_charge, c.unit, c.person,
       c.registered_at, c.due, c.late, c.version, true as content, s.event_id, s.token
from unnest(:counties::text[], :grams::text[]) as q (county, grams)
     join grams g on g.county = q.county and g.grams @> q.grams::smallint[]
     join cases c on c.id = g.id
     join sealed s on s.id = g.id
where (c.registered_at, c.id) < (:before_at::timestamptz, :before_id::uuid)
  and c.registered_at >= :since::timestamptz
  and kit.may_see(:own_person, :own_unit, :own_prefix, :reads, c.region, c.in_charge, c.unit, c.co_units, c.first_asked,
                  c.people, c.complained_unit, c.stand_aside)
  and (:region::text is null or starts_with(c.in_charge, :region))
  and (:status::text is null or c.status = :status)
  and (:unit::text is null or c.unit = :unit or :unit = any (c.co_units))
  and (:person::text is null or :person = any (c.people) or c.first_asked = :person)
  and (:subject::text is null or starts_with(c.subject_code, :subject))
  and (:nature::text is null or c.nature = :nature)
  and c.lane = any (:buckets::smallint[])
order by c.registered_at desc, c.id desc
limit :rows_max;

-- name: counties
-- The counties that have anything in the search index.
select county from counties order by county;

-- name: tallies
-- The numbers of cases by region one level below (:digits distinguish the children), status and lateness, without the
-- cases that are withheld from the caller (:withheld: keys of `seen`).
with hidden as (
    select c.in_charge, c.status, c.late, count(distinct c.id) as count
    from seen s join cases c on c.id = s.id
    where s.who = any (:withheld::text[]) and starts_with(c.in_charge, :region)
    group by c.in_charge, c.status, c.late
)
select rpad(left(t.in_charge, :digits), 12, '0') as region, t.status, t.late,
       sum(t.count - coalesce(k.count, 0))::bigint as count
from tallies t left join hidden k using (in_charge, status, late)
where starts_with(t.in_charge, :region)
group by 1, 2, 3
having sum(t.count - coalesce(k.count, 0)) <> 0
order by 1, 2, 3;

-- name: visible
-- Those of these cases and orders that the caller may follow, inside a region; as in `list_cases`.
select c.id::text as id
from cases c
where c.id = any (:ids::uuid[])
  and (kit.may_see(:own_person, :own_unit, :own_prefix, :reads, c.region, c.in_charge, c.unit, c.co_units, c.first_asked,
                   c.people, c.complained_unit, c.stand_aside)
       or (:audits and starts_with(c.in_charge, :own_prefix) and c.complained_unit is distinct from :own_unit
           and not (:own_person = any (c.stand_aside))))
  and (starts_with(c.in_charge, :region) or starts_with(c.region, :region))
union all
select o.id::text
from orders o
where o.id = any (:ids::uuid[]) and (((:reads or :audits) and starts_with(o.region, :own_prefix)) or o.unit = :own_unit)
  and :own_person::text is not null
  and starts_with(o.region, :region);

-- name: list_orders
-- A page of supervision orders, newest first, at most :rows_max before (:before_at, :before_id): those of the caller's
-- region, when the post reads it, and those that the caller's unit must answer.
select id, stream, status, kind, region, unit, case_count, refused_count, due, overdue, issued_at, version
from orders
where (issued_at, id) < (:before_at::timestamptz, :before_id::uuid)
  and ((:reads and starts_with(region, :own_prefix)) or unit = :own_unit)
  and (:region::text is null or starts_with(region, :region))
  and (:status::text is null or status = :status)
  and (:unit::text is null or unit = :unit)
  and (:late::boolean is null or overdue = :late)
order by issued_at desc, id desc
limit :rows_max;
