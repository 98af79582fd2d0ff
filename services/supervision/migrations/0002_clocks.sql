-- Every case and order as supervision needs it: its folded state for the next event, and what may call for an order.
create table watched (
    subject text primary key,
    id uuid not null,
    sequence bigint not null,
    kind text not null,
    in_charge text not null,
    open boolean not null,
    hand_backs integer not null,
    repeats integer not null,
    lateness integer not null,
    people integer not null,
    orders integer not null,
    state text not null
);

-- What is due when. A row goes when its moment is no longer in force.
create table moments (
    subject text not null,
    what text not null,
    stage text not null,
    unit text not null,
    at timestamptz not null,
    cause text not null,
    primary key (subject, what, stage, unit)
);

create index moments_in_order on moments (at, subject, what, stage, unit);

-- What calls for a supervision order (clause 5.1.1 f): few of the open cases.
create index watched_troubled on watched (in_charge collate "C", id)
    where open and orders = 0 and (hand_backs > 0 or repeats > 0 or lateness > 0 or people > 1);

-- The calendars that all running deadlines were reckoned with; when others are in force, they are reckoned anew.
create table calendars_applied (
    reference text primary key
);
