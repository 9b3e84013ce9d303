#!/bin/sh
# Creates the namespace and registers the search attributes that batches carry. Safe to run again.
# Needs TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE (the temporal CLI reads them); RETENTION is how long ended workflows
# stay readable.
set -eu

attempts=30
until temporal operator cluster health >/dev/null 2>&1; do
  attempts=$((attempts - 1))
  if [ "$attempts" -le 0 ]; then
    echo "Temporal at $TEMPORAL_ADDRESS doesn't become healthy" >&2
    exit 1
  fi
  sleep 2
done

temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "${RETENTION:-7d}"

# A new namespace is known to every part of the server a few seconds later.
register() {
  attempts=15
  until temporal operator search-attribute list 2>/dev/null | grep -qw "$1"; do
    temporal operator search-attribute create --name "$1" --type "$2" || true
    attempts=$((attempts - 1))
    if [ "$attempts" -le 0 ]; then
      echo "search attribute $1 can't be registered" >&2
      exit 1
    fi
    sleep 2
  done
}

register BatchStatus Keyword
register FromUserId Keyword
register ItemCount Int
register FailedCount Int
echo "namespace $TEMPORAL_NAMESPACE is ready"
