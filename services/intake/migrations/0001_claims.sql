-- Who claimed which registration: exactly once by (source, id). Durable beside the log, backed up with it.
create table claims (
    source text not null,
    source_id text not null,
    digest bytea not null,
    subject text not null,
    claimed_at timestamptz not null,
    primary key (source, source_id)
);

-- How far the read models of this service have come on each log stream.
create table checkpoints (
    model text not null,
    stream text not null,
    sequence bigint not null,
    event_id text not null,
    primary key (model, stream)
);
