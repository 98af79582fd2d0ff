-- name: work_states
-- The folded states of these cases, as they were written.
select subject, state from work where subject = any($1::text[]);

-- name: write_work
-- rows: WorkRow
-- Upsert cases; a row that is older than the one in the table is skipped.
insert into work (<columns>) select <values> from unnest(<arrays>) as given (<columns>)
on conflict (subject) do update set <updates> where work.sequence < excluded.sequence;

-- name: clear_work
-- Empty the worklist, for a rebuild.
truncate work;

-- name: queue
-- Cases that wait for the triage desks of a region and below, oldest first, behind ($2, $3).
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
