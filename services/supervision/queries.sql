-- name: watched_states
-- The folded states of these cases and orders, as they were written.
select subject, state from watched where subject = any($1::text[]);

-- name: write_watched
-- rows: WatchedRow
-- Put cases and orders as they now are; an older row changes nothing. Answers with the subjects that were written.
insert into watched (<columns>) select <values> from unnest(<arrays>) as given (<columns>)
on conflict (subject) do update set <updates> where watched.sequence < excluded.sequence
returning subject;

-- name: forget_moments
-- Take away what was due of these cases and orders.
delete from moments where subject = any($1::text[]);

-- name: write_moments
-- rows: MomentRow
-- Put what is now due of cases and orders.
insert into moments (<columns>) select <values> from unnest(<arrays>) as given (<columns>);

-- name: clear_watched
-- Empty the read model, for a rebuild.
truncate watched, moments;

-- name: due
-- What is due by $1, in due order, after the place ($2 .. $6), with the state to decide on.
select m.at, m.subject, m.what, m.stage, m.unit, m.cause, w.sequence, w.state
from moments m join watched w using (subject)
where m.at <= $1 and (m.at, m.subject, m.what, m.stage, m.unit) > ($2::timestamptz, $3, $4, $5, $6)
order by m.at, m.subject, m.what, m.stage, m.unit
limit $7;

-- name: next_moment
-- When the next thing is due after $1.
select at from moments where at > $1 order by at limit 1;

-- name: running
-- Deadlines that run, soonest first, after the place ($1 .. $5): what a newer calendar may move.
select m.at, m.subject, m.what, m.stage, m.unit, m.cause, w.sequence, w.state
from moments m join watched w using (subject)
where m.what = 'overdue' and (m.at, m.subject, m.what, m.stage, m.unit) > ($1::timestamptz, $2, $3, $4, $5)
order by m.at, m.subject, m.what, m.stage, m.unit
limit $6;

-- name: clockless
-- Open cases of which nothing is due, by subject, after $1: a clock may be missing, or stand still.
select w.subject
from watched w
where w.open and w.subject > $1 and not exists (select from moments m where m.subject = w.subject)
order by w.subject
limit $2;

-- name: calendars_applied
-- The calendars that every running deadline was reckoned with.
select reference from calendars_applied order by reference;

-- name: forget_calendars
-- Before other calendars are noted.
delete from calendars_applied;

-- name: note_calendars
-- Every running deadline was reckoned with these calendars.
insert into calendars_applied (reference) select unnest($1::text[]);

-- name: troubled
-- Open cases without an order that meet the lowest threshold of anything ($4 .. $7), by centre and id, before the end of
-- a region ($1) and after the place ($2, $3): what may call for an order.
select in_charge, id::text as id, subject, state
from watched
where open and orders = 0 and (hand_backs > 0 or repeats > 0 or lateness > 0 or people > 1)
  and in_charge collate "C" < $1 and (in_charge collate "C", watched.id) > ($2::text, $3::uuid)
  and (hand_backs >= $4 or repeats >= $5 or lateness >= $6 or people >= $7)
order by in_charge collate "C", watched.id
limit $8;
