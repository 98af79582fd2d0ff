-- name: work_states
-- The folded states of these cases, as they were written.
select subject, state from work where subject = any($1::text[]);

-- name: write_work
-- Put cases as they now are (lists of codes come joined by spaces); what is older than what stands changes nothing.
insert into work (subject, id, sequence, status, region, in_charge, unit, person, units, people, complained_unit,
                  stand_aside, first_asked, registered_at, state)
select subject, id, sequence, status, region, in_charge, unit, person, string_to_array(units, ' '),
       string_to_array(people, ' '), complained_unit, string_to_array(stand_aside, ' '), first_asked, registered_at, state
from unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::text[])
     as n (subject, id, sequence, status, region, in_charge, unit, person, units, people, complained_unit,
           stand_aside, first_asked, registered_at, state)
on conflict (subject) do update set
    sequence = excluded.sequence, status = excluded.status, in_charge = excluded.in_charge, unit = excluded.unit,
    person = excluded.person, units = excluded.units, people = excluded.people,
    complained_unit = excluded.complained_unit, stand_aside = excluded.stand_aside, state = excluded.state
where work.sequence < excluded.sequence;

-- name: clear_work
-- Empty the worklist, for a rebuild.
truncate work;

-- name: queue
-- Cases that wait for the triage desk of a region and below, oldest first, key-paged.
select w.id, w.subject, w.sequence, w.status, w.in_charge, w.registered_at, w.state
from work w
where w.status in ('awaiting_triage', 'triaged') and starts_with(w.in_charge, $1)
  and ($2::timestamptz is null or (w.registered_at, w.id) > ($2, $3::uuid))
  and kit.may_see($4, $5, $6, $7, w.region, w.in_charge, w.unit, w.units, w.first_asked, w.people, w.complained_unit,
                  w.stand_aside)
order by w.registered_at, w.id
limit $8;

-- name: cases_of
-- Open cases that a person is responsible for, or a unit, inside a region, in a stable order.
select subject, state from work
where starts_with(in_charge, $1) and status in ('assigned', 'handling', 'settled')
  and ($2::text is null or $2 = any (people)) and ($3::text is null or $3 = any (units))
order by registered_at, id;
