-- name: watched_states
-- The folded states of these cases and orders, as they were written.
select subject, state from watched where subject = any($1::text[]);

-- name: write_watched
-- rows: WatchedRow
-- Upsert cases and orders; a row that is older than the one in the table is skipped. Returns the subjects written.
insert into watched (<columns>) select <values> from unnest(<arrays>) as given (<columns>)
on conflict (subject) do update set <updates> where watched.sequence < excluded.sequence
returning subject;

-- name: forget_moments
-- Delete the timers of these cases and orders.
delete from moments where subject = any($1::text[]);

-- name: write_moments
-- rows: MomentRow
-- Insert the present timers of cases and orders.
insert into moments (<columns>) select <values> from unnest(<arrays>) as given (<columns>);

-- name: clear_watched
-- Empty the read model, for a rebuild.
truncate watched, moments;

-- name: due
-- The timers that are due by $1, in due order, behind the timer ($2 .. $6), with the state to decide on.
select m.at, m.subject, m.what, m.stage, m.unit, m.cause, w.sequence, w.state
from moments m join watched w using (subject)
where m.at <= $1 and (m.at, m.subject, m.what, m.stage, m.unit) > ($2::timestamptz, $3, $4, $5, $6)
order by m.at, m.subject, m.what, m.stage, m.unit
limit $7;

-- name: next_moment
-- The moment of the first timer after $1.
select at from moments where at > $1 order by at limit 1;

-- name: running
-- The running deadlines, soonest first, behind the timer ($1 .. $5): a newer calendar may move them.
select m.at, m.subject, m.what, m.stage, m.unit, m.cause, w.sequence, w.state
from moments m join watched w using (subject)
where m.what = 'overdue' and (m.at, m.subject, m.what, m.stage, m.unit) > ($1::timestamptz, $2, $3, $4, $5)
order by m.at, m.subject, m.what, m.stage, m.unit
limit $6;

-- name: clockless
-- Open cases without a timer, by subject, behind $1: a clock may be missing, or suspended.
select w.subject
from watched w
where w.open and w.subject > $1 and not exists (select from moments m where m.subject = w.subject)
order by w.subject
limit $2;

-- name: calendars_applied
-- The calendars by which every running deadline is computed.
select reference from calendars_applied order by reference;

-- name: forget_calendars
-- Remove the calendars before others are noted.
delete from calendars_applied;

-- name: note_calendars
-- Note the calendars by which every running deadline is computed.
insert into calendars_applied (reference) select unnest($1::text[]);

-- name: troubled
-- Open cases without an order that may call for one: one of their counts reaches the lowest threshold ($4 .. $7); and
-- closed cases whose reopening is proposed. By centre and id, before the end of a region ($1) and behind the case ($2, $3).
select in_charge, id, subject, state
from (
    (
        select in_charge, id::text as id, subject, state
        from watched
        where open and orders = 0 and (hand_backs > 0 or repeats > 0 or lateness > 0 or people > 1)
          and in_charge collate "C" < $1 and (in_charge collate "C", watched.id) > ($2::text, $3::uuid)
          and (hand_backs >= $4 or repeats >= $5 or lateness >= $6 or people >= $7)
        order by in_charge collate "C", watched.id
        limit $8
    )
    union all
    (
        select in_charge, id::text as id, subject, state
        from watched
        where state like '%"reopening_proposed"%'
          and in_charge collate "C" < $1 and (in_charge collate "C", watched.id) > ($2::text, $3::uuid)
        order by in_charge collate "C", watched.id
        limit $8
    )
) as proposed
order by in_charge collate "C", id::uuid
limit $8;
