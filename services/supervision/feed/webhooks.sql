-- name: lock_webhooks
-- Webhooks are inserted one at a time, so that the limits on their number hold, and that of one gateway for a region.
lock table webhooks in share row exclusive mode;

-- name: count_webhooks
-- The number of webhooks, and how many of them this person made.
select count(*) as whole, count(*) filter (where creator = $1) as own from webhooks;

-- name: gateways
-- The regions that have a gateway for notices.
select id, region from webhooks where numbers;

-- name: insert_webhook
-- A new webhook, which receives the items behind this sequence of FEED.
insert into webhooks (id, url, kinds, level, region, creator, numbers, created_at, cursor, status, version, tries)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'active', 0, 0);

-- name: webhooks_within
-- The webhooks for regions that begin with this prefix; where an id is given, that webhook alone.
select w.*, coalesce(i.waiting, 0) as waiting, coalesce(i.parked, 0) as parked
from webhooks w left join lateral (
    select count(*) filter (where parked_at is null) as waiting, count(*) filter (where parked_at is not null) as parked
    from webhook_items where webhook = w.id
) i on true
where starts_with(w.region, $1) and ($2::uuid is null or w.id = $2) order by w.created_at, w.id;

-- name: webhooks_ready
-- The webhooks to which items may be sent at this moment, and whether an item that waits is due.
select w.id, w.kinds, w.level, w.region, w.version,
       exists (select from webhook_items i where i.webhook = w.id and i.next_at <= $1) as due
from webhooks w where w.status = 'active' and (w.next_at is null or w.next_at <= $1);

-- name: change_status
-- Pause a webhook, or resume it at once.
update webhooks set status = $2, tries = 0, next_at = null, version = version + 1,
    last_error = coalesce($3, last_error), failed_at = case when $3::text is null then failed_at else $4 end
where id = $1;

-- name: wake_items
-- Items that wait for a moment are due now: all of them, or those that wait because the receiver was down.
update webhook_items set next_at = $2 where webhook = $1 and next_at is not null and (down or not $3);

-- name: delete_webhook
-- Delete a webhook with its secrets and its pending items.
delete from webhooks where id = $1;

-- name: replay
-- Set the cursor to this sequence, so that the items behind it are sent again.
update webhooks set cursor = $2, version = version + 1, tries = 0, next_at = null where id = $1;

-- name: forget_items
-- Delete the pending items behind the sequence: they are read from FEED again.
delete from webhook_items where webhook = $1 and sequence > $2;

-- name: due_items
-- The first pending item of each case that is due, the longest due first. An item that waited for an earlier one of its
-- case is due as soon as it is the first.
select sequence, item as id, subject, kind, attempts, since from (
    select distinct on (subject) * from webhook_items
    where webhook = $1 and parked_at is null order by subject, sequence
) heads where coalesce(next_at, since) <= $2 order by next_at, sequence limit $3;

-- name: blocked_subjects
-- Those of these cases that have an earlier item that waits.
select distinct subject from webhook_items where webhook = $1 and parked_at is null and subject = any ($2);

-- name: update_webhook
-- Write the webhook after a round, unless it was changed since the round began.
update webhooks set status = $3, cursor = $4, tries = $5, next_at = $6, last_error = $7, failed_at = $8, taken_at = $9,
    version = version + 1
where id = $1 and version = $2;

-- name: delete_items
-- Delete the items that are done.
delete from webhook_items where webhook = $1 and sequence = any ($2);

-- name: write_items
-- Write the items that wait or are parked.
insert into webhook_items (webhook, sequence, item, subject, kind, attempts, since, next_at, down, reason, parked_at)
select $1, i.* from unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::int[], $7::timestamptz[],
                           $8::timestamptz[], $9::boolean[], $10::text[], $11::timestamptz[]) as i
on conflict (webhook, sequence) do update set attempts = excluded.attempts, next_at = excluded.next_at,
    down = excluded.down, reason = excluded.reason, parked_at = excluded.parked_at;

-- name: parked_items
-- A page of the parked items behind this sequence, in the order of FEED.
select sequence, item, split_part(subject, ' ', 1) as subject, kind, attempts, since, reason, parked_at
from webhook_items
where webhook = $1 and parked_at is not null and sequence > $2 order by sequence limit $3;

-- name: unpark
-- Parked items, one or all of them, are due again, as if they had never been tried.
update webhook_items set parked_at = null, attempts = 0, next_at = $3
where webhook = $1 and parked_at is not null and ($2::bigint is null or sequence = $2);

-- name: add_secret
-- A secret that signs from now on.
insert into webhook_secrets (webhook, id, made_at, master, wrapped) values ($1, $2, $3, $4, $5);

-- name: end_secrets
-- The last secret signs until this moment; older ones are deleted.
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
-- Enter notices that go to a gateway now; an outcome and a report that are there already stay.
insert into notices (item, case_id, webhook, gateway, outcome, at)
select i.item, i.case_id, $1, $2, 'sending', $3 from unnest($4::uuid[], $5::uuid[]) as i (item, case_id)
on conflict (item) do update set webhook = excluded.webhook, gateway = excluded.gateway;

-- name: end_notices
-- The outcome of each notice.
update notices n set outcome = i.outcome, reason = i.reason, at = $1
from unnest($2::uuid[], $3::text[], $4::text[]) as i (item, outcome, reason) where n.item = i.item;

-- name: read_notice
-- One notice.
select * from notices where item = $1;

-- name: notices_of
-- The notices of a case.
select * from notices where case_id = $1;

-- name: report_delivery
-- Enter a gateway's report on a notice, unless a later report stands; the same report again changes nothing.
update notices set delivery = $2, delivery_at = $3, delivery_reason = $4
where item = $1 and (delivery_at is null or delivery_at < $3);

-- name: oldest_undelivered
-- Since when the oldest item waits that a receiver did not take and that is not parked.
select min(since) from webhook_items where parked_at is null;
