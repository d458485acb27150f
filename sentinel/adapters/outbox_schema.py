"""The outbox's tables, and the questions that decide what is sent next."""

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, incident TEXT NOT NULL, revision INTEGER NOT NULL,
    page TEXT NOT NULL, detailed INTEGER NOT NULL, resolved INTEGER NOT NULL, at REAL NOT NULL,
    place TEXT NOT NULL DEFAULT '', reported TEXT NOT NULL DEFAULT '', UNIQUE (incident, revision));
CREATE TABLE IF NOT EXISTS messages (
    channel TEXT, incident TEXT, ref TEXT NOT NULL DEFAULT '', revision INTEGER NOT NULL DEFAULT -1,
    opening INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    refused TEXT NOT NULL DEFAULT '', not_before REAL NOT NULL DEFAULT 0, PRIMARY KEY (channel, incident));
CREATE TABLE IF NOT EXISTS deliveries (
    channel TEXT, incident TEXT, revision INTEGER, done INTEGER NOT NULL,
    PRIMARY KEY (channel, incident, revision));
CREATE TABLE IF NOT EXISTS channels (
    channel TEXT PRIMARY KEY, failing_since REAL, failures INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS primaries (channel TEXT PRIMARY KEY);
"""

COLUMNS = {
    "pages": "id, incident, revision, page, detailed, resolved, at, place, reported",
    "messages": "channel, incident, ref, revision, opening, failures, refused, not_before",
    "deliveries": "channel, incident, revision, done",
}
"""What is known of an incident, and moves with it to another outbox."""

# A page is due on a channel when the channel has not done it. A fallback takes only what nobody has shown
# yet and every channel before it cannot show (:healthy are those that still might), and keeps a message
# that it once opened from telling an old stage.
DUE = """
SELECT p.incident FROM pages p
LEFT JOIN deliveries d ON d.channel = :channel AND d.incident = p.incident AND d.revision = p.revision
LEFT JOIN messages m ON m.channel = :channel AND m.incident = p.incident
WHERE COALESCE(d.done, 0) = 0 AND COALESCE(m.not_before, 0) <= :now
    AND p.incident NOT IN (SELECT value FROM json_each(:elsewhere)) AND (:first
    OR (p.place = '' AND NOT EXISTS (SELECT 1 FROM json_each(:healthy) h LEFT JOIN messages r
        ON r.channel = h.value AND r.incident = p.incident WHERE COALESCE(r.refused, '') = ''))
    OR (m.ref != '' AND p.revision > m.revision))
GROUP BY p.incident ORDER BY COALESCE(m.failures, 0), MIN(p.seq) LIMIT 1
"""

# A message that shows the newest of a page that is open.
OPEN = """
SELECT p.page, m.ref, MAX(p.revision) FROM pages p
JOIN messages m ON m.channel = :channel AND m.incident = p.incident
WHERE m.ref != '' AND m.not_before <= :now AND p.incident NOT IN (SELECT value FROM json_each(:elsewhere))
GROUP BY p.incident HAVING NOT MAX(p.resolved) AND m.revision >= MAX(p.revision)
"""

# What a message shows covers every older text; a page with details is done when those are posted.
SETTLE = """
INSERT OR REPLACE INTO deliveries (channel, incident, revision, done)
SELECT m.channel, p.incident, p.revision, 1 FROM pages p JOIN messages m ON m.incident = p.incident
WHERE p.incident = ? AND m.ref != '' AND p.revision <= m.revision AND NOT p.detailed
"""
PLACE = """
UPDATE pages SET place = (SELECT MIN(channel) FROM deliveries d
    WHERE d.incident = pages.incident AND d.revision = pages.revision AND d.done)
WHERE incident = ? AND place = '' AND EXISTS (SELECT 1 FROM deliveries d
    WHERE d.incident = pages.incident AND d.revision = pages.revision AND d.done)
"""
