-- The cases and who has them: what the triage desk and a hand-over look through. Derived from the log.
create table work (
    subject text primary key,
    id uuid not null,
    sequence bigint not null,
    status text not null,
    region text not null,
    in_charge text not null,
    unit text,
    person text,
    units text[] not null,
    people text[] not null,
    complained_unit text,
    stand_aside text[] not null,
    first_asked text not null,
    registered_at timestamptz not null,
    state text not null
);
create index work_waiting on work (registered_at, id) where status in ('awaiting_triage', 'triaged');
create index work_units on work using gin (units) where status in ('assigned', 'handling', 'settled');
create index work_people on work using gin (people) where status in ('assigned', 'handling', 'settled');

-- How far the read models of this service have come on each log stream.
create table checkpoints (
    model text not null,
    stream text not null,
    sequence bigint not null,
    event_id text not null,
    primary key (model, stream)
);
