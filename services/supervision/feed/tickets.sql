-- name: insert_ticket
-- A new ticket, and the end of those that are over ($4).
with over as (delete from feed_tickets where ends_at <= $4)
insert into feed_tickets (digest, person, ends_at) values ($1, $2, $3);

-- name: take_ticket
-- The person of a ticket that has not ended by $2; it is gone then.
delete from feed_tickets where digest = $1 and ends_at > $2 returning person;
