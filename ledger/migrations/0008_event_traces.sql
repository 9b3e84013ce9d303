-- Traces of events: each event knows the step that wrote it, where that step was traced.

-- A default, so that whoever writes events need not know of it; set for one transaction by ledger/pool.py, and only in
-- steps that are traced. Reading the setting costs less than a microsecond per row.
ALTER TABLE events ADD COLUMN trace text DEFAULT nullif(current_setting('transfers.traceparent', true), '')
  CHECK (octet_length(trace) = 55);
COMMENT ON COLUMN events.trace IS 'W3C traceparent of the step that wrote it; NULL where it was not traced';
