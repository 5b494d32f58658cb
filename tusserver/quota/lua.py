"""The scripts that count in Redis, each atomic over all keys of a store (floor 4).

Keys carry one hash tag, so that they share a slot. Redis may be sent a script twice: each one is
right when it is done again, but for DRAW, which then takes a piece of bandwidth too much.

`tus:{quota}` is a hash: `u:<id>` a row, `s:<sum>:<scope>` the sums over rows, `h:<worker>` the
places that a process holds, `held` those of all, `filled` how completely records were counted: all
or nothing of them is lost. `tus:{quota}:ids` orders the ids; `:appends` and `:workers` hold what
runs, and until when processes are believed alive, `:holders` the latter of those with places.
"""

from __future__ import annotations

COUNTS = "tus:{quota}"
IDS = "tus:{quota}:ids"
APPENDS = "tus:{quota}:appends"
HOLDERS = "tus:{quota}:holders"
WORKERS = "tus:{quota}:workers"
CREATIONS = "tus:{quota}:creations:"
BUCKET = "tus:{quota}:bucket:"

_ROWS = """
local function number(value) return tonumber(value or '0') or 0 end
local function whole(value) return string.format('%.0f', value) end
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function scopes(owner) return {'=' .. owner, '*'} end
local function sum(name, scope)
  return number(redis.call('HGET', KEYS[1], 's:' .. name .. ':' .. scope))
end
local function add(owner, name, value)
  if value == 0 then return end
  for _, scope in ipairs(scopes(owner)) do
    local field = 's:' .. name .. ':' .. scope
    if redis.call('HINCRBY', KEYS[1], field, whole(value)) == 0 then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
local function read(id)
  local raw = redis.call('HGET', KEYS[1], 'u:' .. id)
  if not raw then return nil end
  local counted, written, open, version, at, owner =
    raw:match('^(%d+) (%d+) (%d) (%d+) ([%d.]+) (.*)$')
  return {counted = tonumber(counted), written = tonumber(written), open = tonumber(open),
    version = tonumber(version), at = tonumber(at), owner = owner}
end
local function weigh(row, sign)
  add(row.owner, 'stored', sign * row.counted)
  add(row.owner, 'unwritten', sign * row.open * (row.counted - row.written))
  add(row.owner, 'open', sign * row.open)
end
local function put(id, row)
  local old = read(id)
  if old and old.owner ~= row.owner then
    weigh(old, -1)
    old = nil
  end
  old = old or {counted = 0, written = 0, open = 0}
  add(row.owner, 'stored', row.counted - old.counted)
  add(row.owner, 'unwritten',
    row.open * (row.counted - row.written) - old.open * (old.counted - old.written))
  add(row.owner, 'open', row.open - old.open)
  redis.call('ZADD', KEYS[2], 0, id)
  redis.call('HSET', KEYS[1], 'u:' .. id, table.concat({whole(row.counted), whole(row.written),
    whole(row.open), whole(row.version), string.format('%.3f', row.at), row.owner}, ' '))
end
local function holds(worker, places)
  local before = number(redis.call('HGET', KEYS[1], 'h:' .. worker))
  if places > 0 then
    redis.call('HSET', KEYS[1], 'h:' .. worker, whole(places))
  else
    redis.call('HDEL', KEYS[1], 'h:' .. worker)
  end
  for _, field in ipairs(places ~= before and {'held', 's:open:*'} or {}) do
    if redis.call('HINCRBY', KEYS[1], field, whole(places - before)) == 0 then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
local function any_held() return number(redis.call('HGET', KEYS[1], 'held')) > 0 end
local function drop(id)
  local old = read(id)
  if old then
    weigh(old, -1)
    redis.call('HDEL', KEYS[1], 'u:' .. id)
  end
  redis.call('ZREM', KEYS[2], id)
end
"""

_SETTLE = """
-- From an index of ARGV on: number of rows, six values each, then tokens that left. The second
-- value of a row is 1 for one that is gone, 2 if it was made moments ago too.
local function settle(at)
  local rows = number(ARGV[at])
  at = at + 1
  for _ = 1, rows do
    local id, gone, length = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    local row = read(id)
    if gone == '2' and not row and any_held() then
      -- Whoever made it has yet to tell: that it is over must be known by then.
      put(id, {counted = 0, written = 0, open = 0, version = number(ARGV[at + 5]), at = clock(),
        owner = ''})
    elseif gone ~= '0' then
      drop(id)
    elseif row and row.version <= number(ARGV[at + 5]) then
      row.written = number(ARGV[at + 3])
      row.counted = math.max(length or row.counted, row.written)
      row.open = number(ARGV[at + 4])
      row.version = number(ARGV[at + 5])
      put(id, row)
    end
    at = at + 6
  end
  while ARGV[at] do
    redis.call('HDEL', KEYS[3], ARGV[at])
    at = at + 1
  end
end
"""

CONFIRM = """
-- KEYS: counts; ARGV: how completely records were counted
if redis.call('HEXISTS', KEYS[1], 'filled') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'filled', ARGV[1])
return 1
"""

SETTLE = (
    _ROWS
    + _SETTLE
    + """
-- KEYS: counts, ids, appends; ARGV: what is due
settle(1)
return 1
"""
)

CLAIM = (
    _ROWS
    + _SETTLE
    + """
-- KEYS: counts, ids, appends, the owner's creations, all creations
-- ARGV: id, owner, least, most, written, creating, needed, minute, then for owner and for all:
-- stored, unwritten, open, creations; then what is due
settle(17)
local id, owner = ARGV[1], ARGV[2]
local least, most, written = number(ARGV[3]), number(ARGV[4]), number(ARGV[5])
local creating, needed, minute = ARGV[6] == '1', ARGV[7], number(ARGV[8])
local function limit(scope, which) return tonumber(ARGV[4 + 4 * scope + which]) end
local row = read(id)
if creating and row then return {1, whole(row.counted)} end
if needed ~= '' then
  local filled = redis.call('HGET', KEYS[1], 'filled')
  if filled ~= 'bytes' and filled ~= needed then return {0, 'uncounted', 0, '0'} end
end
row = row or {counted = 0, written = 0, open = 0, version = 0, at = clock(), owner = owner}
local rest = row.open * (row.counted - row.written)
row.written = math.max(row.written, written)
local total = row.counted
if least > row.counted then
  total = most
  for scope, name in ipairs(scopes(owner)) do
    local stored, unwritten = limit(scope, 1), limit(scope, 2)
    if stored then
      local room = stored - sum('stored', name) + row.counted
      if least > room then return {0, 'stored', scope, '0'} end
      total = math.min(total, room)
    end
    if unwritten then
      local room = unwritten - sum('unwritten', name) + rest + row.written
      if least > room then return {0, 'unwritten', scope, '0'} end
      total = math.min(total, room)
    end
  end
end
if creating then
  local now = clock()
  for scope, name in ipairs(scopes(owner)) do
    local open = limit(scope, 3)
    if open and sum('open', name) >= open then
      return {0, 'open', scope, '0', scope == 2 and any_held() and 1 or 0}
    end
  end
  for scope = 1, 2 do
    local made = limit(scope, 4)
    if made then
      local oldest = tonumber(redis.call('LINDEX', KEYS[3 + scope], made - 1) or '')
      if oldest and now - oldest >= 0 and now - oldest < minute then
        return {0, 'creations', scope, string.format('%.6f', oldest + minute - now)}
      end
    end
  end
  for scope = 1, 2 do
    local made = limit(scope, 4)
    if made then
      redis.call('LPUSH', KEYS[3 + scope], string.format('%.6f', now))
      redis.call('LTRIM', KEYS[3 + scope], 0, made - 1)
      redis.call('PEXPIRE', KEYS[3 + scope], math.ceil(minute * 1000) + 1000)
    end
  end
end
row.counted = math.max(total, row.written)
row.open = 1
put(id, row)
return {1, whole(total)}
"""
)

HOLD = (
    _ROWS
    + _SETTLE
    + """
-- KEYS: counts, ids, appends, holders
-- ARGV: worker, seconds, places, most with them, number of rows, six values each, what is due
local worker, places, made, now = ARGV[1], number(ARGV[3]), number(ARGV[5]), clock()
settle(6 + 6 * made)
for at = 6, 5 + 6 * made, 6 do
  if not read(ARGV[at]) then
    local offset = number(ARGV[at + 3])
    put(ARGV[at], {counted = math.max(number(ARGV[at + 2]), offset), written = offset,
      open = number(ARGV[at + 4]), version = number(ARGV[at + 5]), at = now, owner = ARGV[at + 1]})
  end
end
local before = number(redis.call('HGET', KEYS[1], 'h:' .. worker))
local ample = sum('open', '*') - before + places <= number(ARGV[4])
if not ample then places = math.min(places, math.max(0, before - made)) end
holds(worker, places)
if places > 0 then
  redis.call('ZADD', KEYS[4], now + number(ARGV[2]), worker)
else
  redis.call('ZREM', KEYS[4], worker)
end
return {places, ample and 1 or 0}
"""
)

GHOSTS = (
    _ROWS
    + """
-- KEYS: counts, holders; ARGV: seconds
return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', clock() - number(ARGV[1]))
"""
)

BURY = (
    _ROWS
    + """
-- KEYS: counts, holders; ARGV: workers
local now = clock()
for _, worker in ipairs(ARGV) do
  if number(redis.call('ZSCORE', KEYS[2], worker)) < now then
    holds(worker, 0)
    redis.call('ZREM', KEYS[2], worker)
  end
end
return 1
"""
)

ENTER = (
    _ROWS
    + _SETTLE
    + """
-- KEYS: counts, ids, appends, workers
-- ARGV: token, worker, upload, owner, owner's limit, all's, seconds, then what is due
settle(8)
local now = clock()
redis.call('ZADD', KEYS[4], now + number(ARGV[7]), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
local entries, alive, seen = redis.call('HGETALL', KEYS[3]), {}, {}
local mine, all, same = 0, 0, false
for i = 1, #entries, 2 do
  local worker, upload, owner = entries[i + 1]:match('^(%S+) (%S+) (.*)$')
  if alive[worker] == nil then
    alive[worker] = redis.call('ZSCORE', KEYS[4], worker) and true or false
  end
  if not alive[worker] then
    redis.call('HDEL', KEYS[3], entries[i])
  elseif upload == ARGV[3] then
    same = true
  elseif not seen[upload] then
    seen[upload] = true
    all = all + 1
    if owner == ARGV[4] then mine = mine + 1 end
  end
end
if not same then
  if tonumber(ARGV[5]) and mine >= tonumber(ARGV[5]) then return 1 end
  if tonumber(ARGV[6]) and all >= tonumber(ARGV[6]) then return 2 end
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
return 0
"""
)

BEAT = (
    _ROWS
    + """
-- KEYS: appends, workers; ARGV: worker, seconds, then tokens with what they stand for
local now = clock()
local until_then = number(redis.call('ZSCORE', KEYS[2], ARGV[1]))
redis.call('ZADD', KEYS[2], now + number(ARGV[2]), ARGV[1])
-- Only a process that was held for dead: else an append that just left could come back.
for i = 3, until_then < now and #ARGV or 0, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
"""
)

DRAW = (
    _ROWS
    + """
-- KEYS: the owner's bucket, that of all; ARGV: count, burst, owner's bytes a second, all's
local now, wait = clock(), 0
for scope = 1, 2 do
  local rate = tonumber(ARGV[2 + scope])
  if rate then
    local due = number(redis.call('GET', KEYS[scope]))
    due = math.max(due, now - number(ARGV[2])) + number(ARGV[1]) / rate
    wait = math.max(wait, due - now)
    redis.call('SET', KEYS[scope], string.format('%.6f', due), 'PX',
      math.ceil(math.max(0, due - now) * 1000) + 1000)
  end
end
return string.format('%.6f', wait)
"""
)

COMPARE = (
    _ROWS
    + """
-- KEYS: counts, ids; ARGV: after, upto, grace, ahead, then seven values a row
local now, known, added, changed, lost = clock(), {}, {}, 0, 0
for i = 5, #ARGV, 7 do
  local id, owner, length = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local offset, open, version = number(ARGV[i + 3]), number(ARGV[i + 4]), number(ARGV[i + 5])
  known[id] = true
  local row = read(id)
  -- One that was made moments ago in a held place is told of soon, or its maker has died.
  local is_awaited = not row and ARGV[i + 6] == '1' and any_held()
  if not row and not is_awaited then
    put(id, {counted = length or offset, written = offset, open = open, version = version,
      at = now, owner = owner})
    added[#added + 1] = id
  elseif row and row.version <= version then
    local counted = length or math.max(offset, math.min(row.counted, offset + number(ARGV[4])))
    if row.counted ~= counted or row.written ~= offset or row.open ~= open
      or row.version ~= version then
      row.counted, row.written, row.open, row.version = counted, offset, open, version
      put(id, row)
      changed = changed + 1
    end
  end
end
for _, id in ipairs(redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2])) do
  if not known[id] then
    local row = read(id)
    if not row then
      redis.call('ZREM', KEYS[2], id)
    elseif math.abs(now - row.at) > number(ARGV[3]) then
      drop(id)
      -- A row that counts nothing has only said that an upload is over.
      if row.open + row.counted > 0 then lost = lost + 1 end
    end
  end
end
return {changed, lost, added}
"""
)
