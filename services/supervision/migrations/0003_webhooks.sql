-- Where feed items are sent, how far each place has come in FEED, and what it has not taken yet. Durable beside the log,
-- backed up with it. Nothing of a case but what FEED says in the open; no number of a resident.

create table webhooks (
    id uuid primary key,
    url text not null,
    kinds text[] not null,
    level smallint,                   -- only items for centres of this level
    region text not null,             -- items for its centre and those below
    creator text not null,            -- whose rights decide what is sent
    numbers boolean not null,         -- a gateway for notices: it is told residents' numbers
    created_at timestamptz not null,
    status text not null check (status in ('active', 'paused', 'gone')),
    cursor bigint not null,           -- every item up to here was taken, waits in webhook_items, or is not for it
    version bigint not null,          -- steps on with every change: who sends writes only what nobody changed meanwhile
    tries int not null,               -- rounds in a row in which the receiver took nothing
    next_at timestamptz,              -- not before; null at once
    last_error text,
    failed_at timestamptz,
    taken_at timestamptz              -- when the receiver last took an item
);

-- The secrets that sign, wrapped by a master key that never comes here; two while one takes over from the other.
create table webhook_secrets (
    webhook uuid not null references webhooks on delete cascade,
    id uuid not null,
    made_at timestamptz not null,
    master text not null,
    wrapped bytea not null,
    until timestamptz,
    primary key (webhook, id)
);

-- Items that the receiver did not take yet, by their sequence in FEED, where they are read again.
create table webhook_items (
    webhook uuid not null references webhooks on delete cascade,
    sequence bigint not null,
    item uuid not null,
    subject text not null,            -- the case or order: its items go in order
    kind text not null,
    attempts int not null,
    since timestamptz not null,       -- when it could have been sent first
    next_at timestamptz,              -- null: behind an earlier one of its case, or parked
    down boolean not null,            -- the receiver took nothing at all: tried again as soon as it does
    reason text,
    parked_at timestamptz,
    primary key (webhook, sequence)
);
create index webhook_items_due on webhook_items (webhook, next_at) where next_at is not null;
create index webhook_items_subject on webhook_items (webhook, subject, sequence) where parked_at is null;

-- What became of a notice to a resident: to which gateway it went, or why to none, and what the gateway said of it.
create table notices (
    item uuid primary key,
    case_id uuid not null,
    webhook uuid not null,
    gateway text not null,            -- who made the webhook, and alone reports on the delivery
    outcome text not null check (outcome in ('sending', 'sent', 'none', 'parked')),
    reason text,
    at timestamptz not null,
    delivery text check (delivery in ('delivered', 'failed')),
    delivery_at timestamptz,
    delivery_reason text
);
create index notices_case on notices (case_id);
