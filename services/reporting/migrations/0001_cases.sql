-- The read model of the lists, counts and the search. Derived from the log: dropped and rebuilt at will.

-- One row per case. No index but the key: `seen` leads to the rows, so that most updates stay on their page.
create table cases (
    id uuid primary key,
    subject text not null,            -- the address on the log
    stream text not null,
    sequence bigint not null,         -- of the last event read, in its stream
    version int not null,
    state jsonb not null,             -- folded, to go on from
    born bigint not null,             -- the sequence of the registration, from which the number follows
    status text not null,
    open boolean not null,
    late boolean not null,
    nature text,
    subject_code text,
    severity text not null,
    region text not null,             -- where it began
    in_charge text not null,
    unit text,
    person text,
    co_units text[] not null,
    people text[] not null,           -- the responsible person and those of the co-handling units
    first_asked text not null,
    complained_unit text,
    stand_aside text[] not null,
    informant boolean not null,
    registered_at timestamptz not null,
    settled_at timestamptz,
    closed_at timestamptz,
    last_at timestamptz not null,
    due timestamptz,                  -- the soonest of the running clocks
    repeats int not null,
    ties text[] not null,             -- its keys in `seen`, so that the next version knows what to take back
    lane smallint not null
) with (fillfactor = 70);

-- By whom a case can be seen, as keys in the order of the lists: a region's stem ("5101": in charge), "<5101" (began
-- there, now in charge elsewhere), a unit, "@person", and "!unit" or "!@person" from whom it is kept. A lane is open or
-- not, late or not, so that a short list of late cases is not sought among the many.
create table seen (
    who text not null,
    lane smallint not null,
    registered_at timestamptz not null,
    id uuid not null,
    primary key (who, lane, registered_at, id)
);

-- How many cases each centre has, by status; kept along, since counting a city takes a second.
create table tallies (
    in_charge text not null,
    status text not null,
    late boolean not null,
    count bigint not null,
    primary key (in_charge, status, late)
) with (fillfactor = 50);

-- The sealed matter of a case as it now stands, for titles and for proving what a search found.
create table sealed (
    id uuid primary key,
    event_id text not null,
    token text not null
);
alter table sealed alter token set storage external;  -- sealed bytes do not compress

-- Pairs of characters of the matter, hashed to 16 bits with the county's key: the search index. Which cases are in it
-- hangs on the day, so it takes no part in checksums.
create table grams (
    id uuid primary key,
    county text not null,
    grams smallint[] not null,
    until timestamptz                 -- deleted then; null while the case is open
);
create index grams_pairs on grams using gin (grams);
create index grams_until on grams (until) where until is not null;
create table counties (county text primary key);

create table orders (
    id uuid primary key,
    subject text not null,
    stream text not null,
    sequence bigint not null,
    version int not null,
    state jsonb not null,
    status text not null,
    kind text,
    region text not null,
    unit text not null,
    case_count int not null,
    refused_count int not null,
    due timestamptz,
    overdue boolean not null,
    issued_at timestamptz
);
create index orders_newest on orders (issued_at desc, id desc);

-- How far the read models of this service have come on each log stream.
create table checkpoints (
    model text not null,
    stream text not null,
    sequence bigint not null,
    event_id text not null,
    primary key (model, stream)
);
