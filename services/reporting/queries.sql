-- name: case_states
-- The folded states of these cases and orders, as they were written.
select subject, state::text as state from cases where id = any ($1::uuid[])
union all
select subject, state::text from orders where id = any ($1::uuid[]);

-- name: write_cases
-- Put cases as they now are (lists of codes come joined by spaces), with their keys in `seen` and the tallies; the ids
-- of those that were news. What is older than what stands changes nothing.
with given as materialized (
    select * from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::text[], $7::bigint[], $8::text[], $9::boolean[],
        $10::boolean[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
        $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::boolean[], $24::timestamptz[],
        $25::timestamptz[], $26::timestamptz[], $27::timestamptz[], $28::timestamptz[], $29::int[], $30::text[],
        $31::smallint[]
    ) as g (
        id, subject, stream, sequence, version, state, born, status, open, late, nature, subject_code, severity, region,
        in_charge, unit, person, co_units, people, first_asked, complained_unit, stand_aside, informant, registered_at,
        settled_at, closed_at, last_at, due, repeats, ties, lane
    )
),
before as materialized (
    select c.id, c.ties, c.lane, c.registered_at, c.in_charge, c.status, c.late
    from given g join cases c on c.id = g.id and c.sequence < g.sequence
),
written as (
    insert into cases (
        id, subject, stream, sequence, version, state, born, status, open, late, nature, subject_code, severity, region,
        in_charge, unit, person, co_units, people, first_asked, complained_unit, stand_aside, informant, registered_at,
        settled_at, closed_at, last_at, due, repeats, ties, lane
    )
    select id, subject, stream, sequence, version, state::jsonb, born, status, open, late, nature, subject_code, severity,
           region, in_charge, unit, person, string_to_array(co_units, ' '), string_to_array(people, ' '), first_asked,
           complained_unit, string_to_array(stand_aside, ' '), informant, registered_at, settled_at, closed_at, last_at,
           due, repeats, string_to_array(ties, ' '), lane
    from given
    on conflict (id) do update set
        sequence = excluded.sequence, version = excluded.version, state = excluded.state, status = excluded.status,
        open = excluded.open, late = excluded.late, nature = excluded.nature, subject_code = excluded.subject_code,
        severity = excluded.severity, in_charge = excluded.in_charge, unit = excluded.unit, person = excluded.person,
        co_units = excluded.co_units, people = excluded.people, complained_unit = excluded.complained_unit,
        stand_aside = excluded.stand_aside, informant = excluded.informant, settled_at = excluded.settled_at,
        closed_at = excluded.closed_at, last_at = excluded.last_at, due = excluded.due, repeats = excluded.repeats,
        ties = excluded.ties, lane = excluded.lane
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
-- Put orders as they now are; what is older than what stands changes nothing.
insert into orders (id, subject, stream, sequence, version, state, status, kind, region, unit, case_count, refused_count,
                    due, overdue, issued_at)
select id, subject, stream, sequence, version, state::jsonb, status, kind, region, unit, case_count, refused_count, due,
       overdue, issued_at
from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::int[], $12::int[], $13::timestamptz[], $14::boolean[], $15::timestamptz[])
     as g (id, subject, stream, sequence, version, state, status, kind, region, unit, case_count, refused_count, due,
           overdue, issued_at)
on conflict (id) do update set
    sequence = excluded.sequence, version = excluded.version, state = excluded.state, status = excluded.status,
    kind = excluded.kind, region = excluded.region, unit = excluded.unit, case_count = excluded.case_count,
    refused_count = excluded.refused_count, due = excluded.due, overdue = excluded.overdue,
    issued_at = coalesce(orders.issued_at, excluded.issued_at)
where orders.sequence < excluded.sequence;

-- name: write_sealed
-- The sealed matter of these cases as it now stands.
insert into sealed (id, event_id, token) select * from unnest($1::uuid[], $2::text[], $3::text[])
on conflict (id) do update set event_id = excluded.event_id, token = excluded.token;

-- name: forget
-- Erased cases lose their sealed matter and their place in the search index.
with gone as (delete from sealed where id = any ($1::uuid[]))
delete from grams where id = any ($1::uuid[]);

-- name: sealed_of
-- The sealed matter of these cases, to put those that were taken up again back into the search index.
select id, event_id, token from sealed where id = any ($1::uuid[]);

-- name: write_grams
-- Put cases into the search index (hashes come as the text of an array).
with known as (insert into counties select distinct unnest($2::text[]) on conflict do nothing)
insert into grams (id, county, grams)
select id, county, grams::smallint[] from unnest($1::uuid[], $2::text[], $3::text[]) as g (id, county, grams)
on conflict (id) do update set grams = excluded.grams;

-- name: keep_until
-- Cases that ended are found for some days more, those taken up again as long as they are open.
update grams g set until = n.until from unnest($1::uuid[], $2::timestamptz[]) as n (id, until) where g.id = n.id;

-- name: sweep_grams
-- Delete from the search index what ended long enough ago, at most $2 at once.
delete from grams where id in (select id from grams where until < $1 order by until limit $2);

-- name: clear
-- Empty the read model, for a rebuild.
truncate cases, seen, tallies, sealed, grams, counties, orders;

-- name: checksums
-- Rows and an order-independent checksum of every table that follows from the log alone.
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
-- A page of cases, newest first, by the keys ($1) and lanes ($2) of `seen` that can lead to them: at most $5 before
-- ($3, $4). Shown is what the caller may see; to auditors ($10) also the flow facts of their region, without content.
-- Of each key and lane at most $18 cases are looked at: where nothing fits, the page ends at `horizon`.
with page as materialized (
    select f.registered_at, f.id, bool_or(f.content) as content
    from unnest($1::text[]) as k (who) cross join unnest($2::smallint[]) as l (lane) cross join lateral (
        -- `offset 0` keeps the planner from anything but walking the key in order and looking at one case after another
        select s.registered_at, s.id, m.content
        from (
            select registered_at, id from seen
            where who = k.who and lane = l.lane and (registered_at, id) < ($3::timestamptz, $4::uuid)
              and registered_at >= $11::timestamptz
            order by registered_at desc, id desc
            limit $18
        ) s cross join lateral (
            select c.in_charge, kit.may_see($6, $7, $8, $9, c.region, c.in_charge, c.unit, c.co_units, c.first_asked,
                                            c.people, c.complained_unit, c.stand_aside) as content,
                   coalesce(c.complained_unit = $7, false) or $6 = any (c.stand_aside) as barred
            from cases c
            where c.id = s.id
              and ($12::text is null or starts_with(c.in_charge, $12))
              and ($13::text is null or c.status = $13)
              and ($14::text is null or c.unit = $14 or $14 = any (c.co_units))
              and ($15::text is null or $15 = any (c.people) or c.first_asked = $15)
              and ($16::text is null or starts_with(c.subject_code, $16))
              and ($17::text is null or c.nature = $17)
            offset 0
        ) m
        where m.content or ($10 and starts_with(m.in_charge, $8) and not m.barred)
        order by s.registered_at desc, s.id desc
        limit $5
    ) f
    group by f.registered_at, f.id
    order by f.registered_at desc, f.id desc
    limit $5
)
select c.id, c.stream, c.born, c.status, c.nature, c.subject_code, c.severity, c.region, c.in_charge, c.unit, c.person,
       c.registered_at, c.due, c.late, c.version, p.content, s.event_id, s.token
from page p join cases c on c.id = p.id left join sealed s on s.id = p.id and p.content
order by p.registered_at desc, p.id desc;

-- name: horizon
-- How far down `list_cases` has looked everywhere, given the same keys, lanes, beginning ($3, $4), end ($5) and number of
-- cases to look at ($6); no row when it has looked at all there is.
select f.registered_at, f.id
from unnest($1::text[]) as k (who) cross join unnest($2::smallint[]) as l (lane) cross join lateral (
    select registered_at, id from seen
    where who = k.who and lane = l.lane and (registered_at, id) < ($3::timestamptz, $4::uuid)
      and registered_at >= $5::timestamptz
    order by registered_at desc, id desc
    offset $6::bigint - 1 limit 1
) f
order by f.registered_at desc, f.id desc
limit 1;

-- name: search_cases
-- Candidates of a search among what the caller may see with content, newest first: cases whose hashed pairs hold those
-- of the query under the key of their county. The caller of this statement proves each on the text itself.
select c.id, c.stream, c.born, c.status, c.nature, c.subject_code, c.severity, c.region, c.in_charge, c.unit, c.person,
       c.registered_at, c.due, c.late, c.version, true as content, s.event_id, s.token
from unnest($1::text[], $2::text[]) as q (county, grams)
     join grams g on g.county = q.county and g.grams @> q.grams::smallint[]
     join cases c on c.id = g.id
     join sealed s on s.id = g.id
where (c.registered_at, c.id) < ($3::timestamptz, $4::uuid)
  and c.registered_at >= $10::timestamptz
  and kit.may_see($6, $7, $8, $9, c.region, c.in_charge, c.unit, c.co_units, c.first_asked, c.people, c.complained_unit,
                  c.stand_aside)
  and ($11::text is null or starts_with(c.in_charge, $11))
  and ($12::text is null or c.status = $12)
  and ($13::text is null or c.unit = $13 or $13 = any (c.co_units))
  and ($14::text is null or $14 = any (c.people) or c.first_asked = $14)
  and ($15::text is null or starts_with(c.subject_code, $15))
  and ($16::text is null or c.nature = $16)
  and c.lane = any ($17::smallint[])
order by c.registered_at desc, c.id desc
limit $5;

-- name: counties
-- The counties that have anything in the search index.
select county from counties order by county;

-- name: tallies
-- Cases by region one level below ($1 stem, $2 digits of the children), status and lateness, without those that are kept
-- from the caller ($3: keys of `seen`).
with kept as (
    select c.in_charge, c.status, c.late, count(distinct c.id) as count
    from seen s join cases c on c.id = s.id
    where s.who = any ($3::text[]) and starts_with(c.in_charge, $1)
    group by c.in_charge, c.status, c.late
)
select rpad(left(t.in_charge, $2), 12, '0') as region, t.status, t.late, sum(t.count - coalesce(k.count, 0))::bigint as count
from tallies t left join kept k using (in_charge, status, late)
where starts_with(t.in_charge, $1)
group by 1, 2, 3
having sum(t.count - coalesce(k.count, 0)) <> 0
order by 1, 2, 3;

-- name: visible
-- Which of these cases and orders' flow the caller may follow, inside a region ($7); as in `list_cases`.
select c.id::text as id
from cases c
where c.id = any ($1::uuid[])
  and (kit.may_see($2, $3, $4, $5, c.region, c.in_charge, c.unit, c.co_units, c.first_asked, c.people, c.complained_unit,
                   c.stand_aside)
       or ($6 and starts_with(c.in_charge, $4) and c.complained_unit is distinct from $3
           and not ($2 = any (c.stand_aside))))
  and (starts_with(c.in_charge, $7) or starts_with(c.region, $7))
union all
select o.id::text
from orders o
where o.id = any ($1::uuid[]) and ((($5 or $6) and starts_with(o.region, $4)) or o.unit = $3)
  and $2::text is not null
  and starts_with(o.region, $7);

-- name: list_orders
-- A page of supervision orders, newest first, at most $3 before ($1, $2): those of the caller's region ($4, when the post
-- reads it: $5) and those that the caller's unit ($6) must answer.
select id, stream, status, kind, region, unit, case_count, refused_count, due, overdue, issued_at, version
from orders
where (issued_at, id) < ($1::timestamptz, $2::uuid)
  and (($5 and starts_with(region, $4)) or unit = $6)
  and ($7::text is null or starts_with(region, $7))
  and ($8::text is null or status = $8)
  and ($9::text is null or unit = $9)
  and ($10::boolean is null or overdue = $10)
order by issued_at desc, id desc
limit $3;
