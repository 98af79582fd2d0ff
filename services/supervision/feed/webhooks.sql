-- name: lock_webhooks
-- One at a time makes a place: the limits on their number, and one gateway for a region, hold.
lock table webhooks in share row exclusive mode;

-- name: count_webhooks
-- How many places there are, and how many of them this person made.
select count(*) as whole, count(*) filter (where creator = $1) as own from webhooks;

-- name: gateways
-- The regions that have a gateway for notices.
select id, region from webhooks where numbers;

-- name: insert_webhook
-- A new place, which goes on behind this sequence of FEED.
insert into webhooks (id, url, kinds, level, region, creator, numbers, created_at, cursor, status, version, tries)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'active', 0, 0);

-- name: webhooks_within
-- The places for a region, by its stem, and below; with one id that one alone.
select w.*, coalesce(i.waiting, 0) as waiting, coalesce(i.parked, 0) as parked
from webhooks w left join lateral (
    select count(*) filter (where parked_at is null) as waiting, count(*) filter (where parked_at is not null) as parked
    from webhook_items where webhook = w.id
) i on true
where starts_with(w.region, $1) and ($2::uuid is null or w.id = $2) order by w.created_at, w.id;

-- name: webhooks_ready
-- The places to which something may be sent at this moment, and whether something that waits is due.
select w.id, w.kinds, w.level, w.region, w.version,
       exists (select from webhook_items i where i.webhook = w.id and i.next_at <= $1) as due
from webhooks w where w.status = 'active' and (w.next_at is null or w.next_at <= $1);

-- name: change_status
-- Pause a place, or let it go on at once.
update webhooks set status = $2, tries = 0, next_at = null, version = version + 1,
    last_error = coalesce($3, last_error), failed_at = case when $3::text is null then failed_at else $4 end
where id = $1;

-- name: wake_items
-- What waits only for its moment is due now, all of it or what waits because the receiver was down.
update webhook_items set next_at = $2 where webhook = $1 and next_at is not null and (down or not $3);

-- name: delete_webhook
-- Remove a place with its secrets and what it waits for.
delete from webhooks where id = $1;

-- name: replay
-- Send again from behind this sequence on.
update webhooks set cursor = $2, version = version + 1, tries = 0, next_at = null where id = $1;

-- name: forget_items
-- What lies behind the sequence is read from FEED again.
delete from webhook_items where webhook = $1 and sequence > $2;

-- name: due_items
-- The first waiting item of each case that is due, the longest due first; one that was behind is due once it is first.
select sequence, item, subject, kind, attempts, since from (
    select distinct on (subject) * from webhook_items
    where webhook = $1 and parked_at is null order by subject, sequence
) heads where coalesce(next_at, since) <= $2 order by next_at, sequence limit $3;

-- name: blocked_subjects
-- Which of these cases have an earlier item that waits.
select distinct subject from webhook_items where webhook = $1 and parked_at is null and subject = any ($2);

-- name: move
-- Note what a round came to, unless somebody changed the place meanwhile.
update webhooks set status = $3, cursor = $4, tries = $5, next_at = $6, last_error = $7, failed_at = $8, taken_at = $9,
    version = version + 1
where id = $1 and version = $2;

-- name: drop_items
-- These were taken.
delete from webhook_items where webhook = $1 and sequence = any ($2);

-- name: keep_items
-- These wait, or are parked.
insert into webhook_items (webhook, sequence, item, subject, kind, attempts, since, next_at, down, reason, parked_at)
select $1, i.* from unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::int[], $7::timestamptz[],
                           $8::timestamptz[], $9::boolean[], $10::text[], $11::timestamptz[]) as i
on conflict (webhook, sequence) do update set attempts = excluded.attempts, next_at = excluded.next_at,
    down = excluded.down, reason = excluded.reason, parked_at = excluded.parked_at;

-- name: parked_items
-- What was given up, in the order of FEED, a page behind this sequence.
select sequence, item, subject, kind, attempts, since, reason, parked_at from webhook_items
where webhook = $1 and parked_at is not null and sequence > $2 order by sequence limit $3;

-- name: unpark
-- Try parked items again, one or all: as if they had never been tried.
update webhook_items set parked_at = null, attempts = 0, next_at = $3
where webhook = $1 and parked_at is not null and ($2::bigint is null or sequence = $2);

-- name: add_secret
-- A secret that signs from now on.
insert into webhook_secrets (webhook, id, made_at, master, wrapped) values ($1, $2, $3, $4, $5);

-- name: end_secrets
-- The last secret signs until then, the ones before it no more.
with newest as (select id from webhook_secrets where webhook = $1 order by made_at desc limit 1),
    older as (delete from webhook_secrets where webhook = $1 and id not in (select id from newest))
update webhook_secrets set until = $2 where webhook = $1 and id in (select id from newest);

-- name: secrets
-- The secrets that sign at this moment, the newest first.
select id, master, wrapped from webhook_secrets
where webhook = $1 and (until is null or until > $2) order by made_at desc;

-- name: stale_secrets
-- The secrets that another master key wraps.
select id, master, wrapped from webhook_secrets where master <> $1 for update;

-- name: wrap_secret
-- The same secret under another master key.
update webhook_secrets set master = $2, wrapped = $3 where id = $1;

-- name: begin_notices
-- These notices go to a gateway now; what is known of their delivery stays.
insert into notices (item, case_id, webhook, gateway, outcome, at)
select i.item, i.case_id, $1, $2, 'sending', $3 from unnest($4::uuid[], $5::uuid[]) as i (item, case_id)
on conflict (item) do update set webhook = excluded.webhook, gateway = excluded.gateway;

-- name: end_notices
-- What became of them.
update notices n set outcome = i.outcome, reason = i.reason, at = $1
from unnest($2::uuid[], $3::text[], $4::text[]) as i (item, outcome, reason) where n.item = i.item;

-- name: read_notice
-- One notice.
select * from notices where item = $1;

-- name: notices_of
-- What became of the notices of a case.
select * from notices where case_id = $1;

-- name: report_delivery
-- What the gateway says of a notice; a later word stands, the same again changes nothing.
update notices set delivery = $2, delivery_at = $3, delivery_reason = $4
where item = $1 and (delivery_at is null or delivery_at < $3);

-- name: oldest_undelivered
-- Since when the oldest item waits that a receiver did not take and nobody has parked.
select min(since) from webhook_items where parked_at is null;
