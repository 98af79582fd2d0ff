-- name: read_checkpoint
-- How far a read model has come on one stream, and which event it read there.
select sequence, event_id from checkpoints where model = $1 and stream = $2;

-- name: write_checkpoint
-- Note how far a read model has come, in the transaction that writes its rows; nothing when it is not where this one
-- found it ($5): somebody else has written meanwhile.
insert into checkpoints (model, stream, sequence, event_id) values ($1, $2, $3, $4)
on conflict (model, stream) do update set sequence = excluded.sequence, event_id = excluded.event_id
where checkpoints.sequence = $5;

-- name: clear_checkpoints
-- Forget how far a read model has come: it is rebuilt from the first event.
delete from checkpoints where model = $1;

-- name: read_checkpoints
-- How far a read model has come on every stream.
select stream, sequence from checkpoints where model = $1;
