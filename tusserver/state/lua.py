"""The scripts that write records in Redis, each atomic on its keys (floor 4).

A record is a hash: `v` the version, `s` the rank of the status, `data` the codec's bytes.
KEYS[1] is that hash; KEYS[2] and KEYS[3] are the indexes by id and by expiry, left out where a
script may not touch several slots. ARGV is version, rank, data, id, expiry or nothing. The client
library sends a command again when its answer was lost, so each script gives the same answer the
second time.
"""

from __future__ import annotations

_EXPIRY = """
if KEYS[3] then
  if ARGV[5] == '' then
    redis.call('ZREM', KEYS[3], ARGV[4])
  else
    redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4])
  end
end
"""
_INDEXES = f"""
if KEYS[2] then
  redis.call('ZADD', KEYS[2], 0, ARGV[4])
end
{_EXPIRY}
"""

ADD = f"""
local stored = redis.call('HGET', KEYS[1], 'data')
if stored and stored ~= ARGV[3] then
  return 0
end
if not stored then
  redis.call('HSET', KEYS[1], 'v', ARGV[1], 's', ARGV[2], 'data', ARGV[3])
end
{_INDEXES}
return 1
"""
"""Put a new record: 1 when it is there afterwards, 0 when another one was."""

SAVE = f"""
local stored = redis.call('HMGET', KEYS[1], 'v', 's', 'data')
if not stored[1] then
  return 0
end
local version = tonumber(stored[1])
local given = tonumber(ARGV[1])
if version == given then
  if stored[3] ~= ARGV[3] then
    return 0
  end
elseif version ~= given - 1 or tonumber(stored[2]) > tonumber(ARGV[2]) then
  return 0
else
  redis.call('HSET', KEYS[1], 'v', ARGV[1], 's', ARGV[2], 'data', ARGV[3])
end
{_EXPIRY}
return 1
"""
"""Replace version n-1 by version n: 1 when n is there afterwards, 0 when it is not."""

RESTORE = f"""
local stored = redis.call('HMGET', KEYS[1], 'v', 's', 'data')
if stored[1] then
  local version, given = tonumber(stored[1]), tonumber(ARGV[1])
  local rank, given_rank = tonumber(stored[2]), tonumber(ARGV[2])
  if rank > given_rank or (rank == given_rank and version > given) then
    return stored[3]
  end
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 's', ARGV[2], 'data', ARGV[3])
{_INDEXES}
return false
"""
"""Put a record unless a newer one is there: the newer one's bytes, else nil."""

DROP = """
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
"""
"""Drop a record: KEYS as above, all of them; ARGV is the id."""
