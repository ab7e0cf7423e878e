"""Durable writes, places at URIs, leases: how files survive crashes."""
