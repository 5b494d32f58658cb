"""The scripts that write records in Redis, each atomic on one key (floor 4).

A record is a hash: `v` the version, `s` the rank of the status, `data` the codec's bytes.
KEYS[1] is that hash; ARGV is version, rank, data. The client library sends a command again
when its answer was lost, so each script gives the same answer the second time.
"""

from __future__ import annotations

ADD = """
local stored = redis.call('HGET', KEYS[1], 'data')
if stored then
  return stored == ARGV[3] and 1 or 0
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 's', ARGV[2], 'data', ARGV[3])
return 1
"""
"""Put a new record: 1 when it is there afterwards, 0 when another one was."""

SAVE = """
local stored = redis.call('HMGET', KEYS[1], 'v', 's', 'data')
if not stored[1] then
  return 0
end
local version = tonumber(stored[1])
local given = tonumber(ARGV[1])
if version == given then
  return stored[3] == ARGV[3] and 1 or 0
end
if version ~= given - 1 or tonumber(stored[2]) > tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 's', ARGV[2], 'data', ARGV[3])
return 1
"""
"""Replace version n-1 by version n: 1 when n is there afterwards, 0 when it is not."""

RESTORE = """
local stored = redis.call('HMGET', KEYS[1], 'v', 's', 'data')
if stored[1] then
  local version, given = tonumber(stored[1]), tonumber(ARGV[1])
  local rank, given_rank = tonumber(stored[2]), tonumber(ARGV[2])
  if rank > given_rank or (rank == given_rank and version > given) then
    return stored[3]
  end
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 's', ARGV[2], 'data', ARGV[3])
return false
"""
"""Put a record unless a newer one is there: the newer one's bytes, else nil."""
