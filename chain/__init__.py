"""The chain room: everything that speaks EVM JSON-RPC. No SQL; what it must store it asks of a `ChainLedger`."""
