-- How far the read models of this service have come on each log stream.
create table checkpoints (
    model text not null,
    stream text not null,
    sequence bigint not null,
    event_id text not null,
    primary key (model, stream)
);
