-- Tickets by which a browser opens the feed, each once. Only the digest is kept; a ticket ends by itself.

create table feed_tickets (
    digest bytea primary key,
    person text not null,             -- whose rights decide what is heard
    ends_at timestamptz not null
);
