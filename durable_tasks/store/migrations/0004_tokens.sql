-- API tokens: what each stands for. The secret itself is nowhere, only its SHA-256.

CREATE TABLE dt_tokens (
    id         TEXT PRIMARY KEY,
    org_id     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    roles      TEXT NOT NULL,
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    created_at REAL NOT NULL,
    expires_at REAL,                      -- NULL: never
    revoked_at REAL
) STRICT, WITHOUT ROWID;
