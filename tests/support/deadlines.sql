-- name: seed_open
-- Open cases number $1 to $2 with one clock each, in the read model alone: what is due of each from $4 on, a second apart.
with numbered as (
    select n, md5('open ' || n)::uuid as id from generate_series($1::integer, $2::integer) n
), put as (
    insert into supervision.watched
        (subject, id, sequence, kind, in_charge, open, hand_backs, repeats, lateness, people, orders, state)
    select 'case.51.01.04.001.000.' || id, id, 1, 'case', '510104001000', true, 0, 0, 0, 1, 0, $3::text from numbered
)
insert into supervision.moments (subject, what, stage, unit, at, cause)
select 'case.51.01.04.001.000.' || id, 'overdue', 'triage', '', $4::timestamptz + n * interval '1 second', id::text
from numbered;

-- name: any_state
-- The state of a case as it is kept.
select state from supervision.watched limit 1;

-- name: count_due
-- How many deadlines that fell due by $1 have not fired yet, as the read model knows.
select count(*) from supervision.moments where what = 'overdue' and at <= $1;
