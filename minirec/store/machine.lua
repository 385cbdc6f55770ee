-- The state machine of jobs, groups and units. Every move of the system happens here, atomically.
--
-- A job (a selection, say) is a list of stages. A stage is a group of units. A group's outputs are
-- content-addressed, so groups are shared: the jobs that wait for one are its waiters.
-- A unit is claimed (lease, attempt, fence), renewed and committed, or it comes back.
--
--   <p>job:<id>            hash    status, stage, request, result, error, ...
--   <p>job:<id>:stages     list    JSON {name, group, queue, handler, units, total, spec, outputs}
--   <p>job:<id>:events     stream  what happened
--   <p>group:<g>           hash    state (open, complete, failed), units, done, progress, cached, ...
--   <p>group:<g>:todo      zset    unit -> when its doorbell was last rung
--   <p>group:<g>:leased    zset    unit -> when its lease ends
--   <p>group:<g>:later     zset    unit -> when its pause ends: it is to do, and not claimed before
--   <p>group:<g>:units     hash    a<i> attempts, f<i> fence, p<i> progress, w<i> worker, s<i> what it holds,
--                                  t<i> when it was claimed,
--                                  h<i> highest progress, x<i> setbacks since then, l<i> who had the last of them
--   <p>group:<g>:waiters   set     jobs that wait for it
--   <p>group:<g>:closing   set     cancelled jobs whose workers have not stopped yet
--   <p>group:<g>:jobs      set     jobs that name it in their stages: it is collected with the last of them
--   <p>group:<g>:outputs   set     what its units write: blob names, blob prefixes ending in '/', 'columns:<name>'
--   <p>output:<name>       set     who keeps it: 'group:<g>', 'dataset:<id>'
--   <p>garbage             zset    blob names and prefixes that nobody keeps -> since when
--   <p>garbage:busy        set     those of them that are being deleted now
--   <p>jobs:<kind>         zset    jobs of the default tenant -> when they were created; jobs:<kind>@<tenant>: others
--   <p>kinds               set     <kind> and <kind>@<tenant> of these
--   <p>queue:<q>           zset    tenants with units to do in a queue -> when one of theirs was last claimed
--   <p>queue:<q>:<tenant>  zset    groups with units to do -> when they were first rung
--   <p>jobs:ended          zset    <job>:<status>:<when> of jobs that ended while there were webhooks, to be told of
--   <p>groups:open, <p>groups:closing, <p>groups:unnamed, <p>jobs:active   sets for the janitor

local p = KEYS[1]
local op = ARGV[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local rings = {}

local MOVES = {
  queued = { running = true, cancelled = true, failed = true, succeeded = true },
  running = { succeeded = true, failed = true, cancelling = true, cancelled = true },
  cancelling = { cancelled = true },
  failed = { queued = true },
  cancelled = { queued = true },
  succeeded = {},
}

local function job_key(job) return p .. 'job:' .. job end
local function group_key(group) return p .. 'group:' .. group end
local function stamp() return string.format('%.3f', now) end
local function instant() return string.format('%.6f', now) end

-- An event with data that is JSON already: what came from outside keeps its types.
local function event_json(job, kind, data)
  redis.call('XADD', job_key(job) .. ':events', 'MAXLEN', '~', '10000', '*', 'type', kind, 'at', stamp(), 'data', data)
end

local function event(job, kind, data) event_json(job, kind, cjson.encode(data)) end

local function move(job, to)
  local key = job_key(job)
  local from = redis.call('HGET', key, 'status')
  if not from or not MOVES[from][to] then return false end
  redis.call('HSET', key, 'status', to)
  if to == 'running' then
    redis.call('HSET', key, 'started_at', stamp())
  elseif to == 'succeeded' or to == 'failed' or to == 'cancelled' then
    redis.call('HSET', key, 'finished_at', stamp())
    redis.call('SREM', p .. 'jobs:active', job)
    if redis.call('EXISTS', p .. 'webhooks') == 1 then
      redis.call('ZADD', p .. 'jobs:ended', stamp(), job .. ':' .. to .. ':' .. stamp())
    end
  elseif to == 'queued' then
    redis.call('HDEL', key, 'finished_at', 'started_at', 'error')
    redis.call('SADD', p .. 'jobs:active', job)
  end
  event(job, 'status', { status = to })
  return true
end

local function queue_key(queue) return p .. 'queue:' .. queue end

-- Queue and tenant of a group; nil if it is not there.
local function place_of(group)
  local facts = redis.call('HMGET', group_key(group), 'queue', 'tenant')
  return facts[1], facts[2] or 'default'
end

-- A group with units to do stands in its tenant's line, and the tenant in the queue's.
local function stand_in_line(group)
  local queue, tenant = place_of(group)
  redis.call('ZADD', queue_key(queue), 'NX', instant(), tenant)
  redis.call('ZADD', queue_key(queue) .. ':' .. tenant, 'NX', instant(), group)
end

local function leave_line(queue, tenant, group)
  local line = queue_key(queue) .. ':' .. tenant
  redis.call('ZREM', line, group)
  if redis.call('EXISTS', line) == 0 then redis.call('ZREM', queue_key(queue), tenant) end
end

local function ring(group, unit)
  local queue = redis.call('HGET', group_key(group), 'queue')
  redis.call('ZADD', group_key(group) .. ':todo', 'XX', stamp(), unit)
  stand_in_line(group)
  rings[#rings + 1] = { queue, group, tostring(unit) }
end

-- Nobody waits for a group now: who comes next rings all of its units, whose doorbells may have served others.
local function unring(group)
  local todo = group_key(group) .. ':todo'
  redis.call('DEL', group_key(group) .. ':later')
  for _, unit in ipairs(redis.call('ZRANGE', todo, 0, -1)) do redis.call('ZADD', todo, 'XX', 0, unit) end
end

-- Outputs are kept by whoever needs them. What nobody keeps is deleted: columns at once, blobs by the janitor, from a
-- list that survives whoever works it off.

local function keep(owner, name)
  redis.call('SADD', p .. 'output:' .. name, owner)
  if redis.call('SISMEMBER', p .. 'garbage:busy', name) == 1 then return false end
  redis.call('ZREM', p .. 'garbage', name)
  return true
end

local function drop(owner, name)
  local key = p .. 'output:' .. name
  if redis.call('SREM', key, owner) == 0 or redis.call('EXISTS', key) == 1 then return end
  if string.sub(name, 1, 8) == 'columns:' then
    redis.call('UNLINK', p .. name)
  else
    redis.call('ZADD', p .. 'garbage', 'NX', stamp(), name)
  end
end

local function add_outputs(group, names)
  for _, name in ipairs(names or {}) do
    if redis.call('SADD', group_key(group) .. ':outputs', name) == 1 then keep('group:' .. group, name) end
  end
end

-- A name in a job's stages keeps the group and its outputs, from before the group is opened.
local function name_group(job, stage)
  redis.call('SADD', group_key(stage.group) .. ':jobs', job)
  redis.call('SREM', p .. 'groups:unnamed', stage.group)
  add_outputs(stage.group, stage.outputs)
end

local GROUP_KEYS = { '', ':todo', ':later', ':leased', ':units', ':waiters', ':closing', ':jobs', ':outputs' }

-- Forget a group that no job names, once none of its workers is left that may still write.
local function collect(group)
  local key = group_key(group)
  if redis.call('EXISTS', key .. ':jobs') == 1 then
    redis.call('SREM', p .. 'groups:unnamed', group)
  elseif redis.call('ZCARD', key .. ':leased') > 0 then
    redis.call('SADD', p .. 'groups:unnamed', group)
  else
    for _, name in ipairs(redis.call('SMEMBERS', key .. ':outputs')) do drop('group:' .. group, name) end
    local queue, tenant = place_of(group)
    if queue then leave_line(queue, tenant, group) end
    for _, suffix in ipairs(GROUP_KEYS) do redis.call('DEL', key .. suffix) end
    for _, set in ipairs({ 'open', 'closing', 'unnamed' }) do redis.call('SREM', p .. 'groups:' .. set, group) end
  end
end

local function unname_group(job, group)
  redis.call('SREM', group_key(group) .. ':jobs', job)
  collect(group)
end

-- The groups that a job names, from a place in its stages on.
local function groups_of(job, from)
  local groups = {}
  for _, raw in ipairs(redis.call('LRANGE', job_key(job) .. ':stages', from, -1)) do
    groups[#groups + 1] = cjson.decode(raw).group
  end
  return groups
end

local function add_stage(job, raw)
  redis.call('RPUSH', job_key(job) .. ':stages', raw)
  local stage = cjson.decode(raw)
  name_group(job, stage)
  return stage.group
end

-- What follows the stage that a job is at. A plan that was made before, and is made again, is replaced.
local function plan(job, stages)
  local index = tonumber(redis.call('HGET', job_key(job), 'stage_index'))
  local before, named = groups_of(job, index + 1), {}
  redis.call('LTRIM', job_key(job) .. ':stages', 0, index)
  for _, raw in ipairs(stages) do named[add_stage(job, raw)] = true end
  for _, group in ipairs(before) do
    if not named[group] then unname_group(job, group) end
  end
end

-- Fences grow for ever, also when Redis was emptied or restored meanwhile: they start at the time of day.
local function next_fence()
  redis.call('SET', p .. 'fence', string.format('%.0f', now * 1000000), 'NX')
  return string.format('%.0f', redis.call('INCR', p .. 'fence'))
end

local function ended(status) return status == 'succeeded' or status == 'failed' or status == 'cancelled' end

-- A unit begins with none of its attempts used: it came further than ever, or somebody wants it anew.
local function forgive(group, unit)
  redis.call('HDEL', group_key(group) .. ':units', 'a' .. unit, 'x' .. unit, 'l' .. unit)
end

local function open_group(stage, tenant)
  local key = group_key(stage.group)
  local state = redis.call('HGET', key, 'state')
  if not state then
    if tenant and tenant ~= 'default' then redis.call('HSET', key, 'tenant', tenant) end
    redis.call('HSET', key, 'state', 'open', 'units', stage.units, 'done', 0, 'progress', 0, 'cached', 0,
      'total', stage.total, 'queue', stage.queue, 'handler', stage.handler, 'spec', stage.spec)
    for unit = 0, stage.units - 1 do redis.call('ZADD', key .. ':todo', 0, unit) end
    state = 'open'
  elseif state == 'failed' then
    -- Someone wants it after all: every unit gets its attempts back.
    redis.call('HSET', key, 'state', 'open')
    redis.call('HDEL', key, 'error')
    redis.call('DEL', key .. ':later')
    for _, unit in ipairs(redis.call('ZRANGE', key .. ':todo', 0, -1)) do
      forgive(stage.group, unit)
      redis.call('ZADD', key .. ':todo', 0, unit)
    end
    state = 'open'
  end
  -- Who comes to work that nobody else waits for may want it done in another way to the same end: with less memory, say.
  -- Where there are several units, some may have been done in the old way.
  local only = stage.units == 1 and redis.call('HGET', key, 'units') == '1'
  if state == 'open' and only and redis.call('SCARD', key .. ':waiters') + redis.call('ZCARD', key .. ':leased') == 0 then
    redis.call('HSET', key, 'spec', stage.spec)
  end
  return state
end

local function enter(job, index)
  while true do
    local raw = redis.call('LINDEX', job_key(job) .. ':stages', index)
    if not raw then
      move(job, 'succeeded')
      return
    end
    local stage = cjson.decode(raw)
    local key = group_key(stage.group)
    redis.call('HSET', job_key(job), 'stage_index', index, 'stage', stage.name, 'group', stage.group, 'stage_at', stamp())
    event(job, 'stage', { stage = stage.name, total = stage.total })
    if open_group(stage, redis.call('HGET', job_key(job), 'tenant')) == 'open' then
      -- What is there already was paid for by others: it counts as cached for this job. The group's own cached count
      -- is added whenever progress is reported, so what is in it already must not be counted twice.
      local there = redis.call('HMGET', key, 'progress', 'cached')
      redis.call('HSET', job_key(job), 'inherited', tonumber(there[1]) - tonumber(there[2]))
      redis.call('SADD', key .. ':waiters', job)
      if redis.call('ZCARD', key .. ':leased') > 0 then move(job, 'running') end
      redis.call('SREM', key .. ':closing', job)
      redis.call('SADD', p .. 'groups:open', stage.group)
      for _, unit in ipairs(redis.call('ZRANGEBYSCORE', key .. ':todo', 0, 0)) do ring(stage.group, unit) end
      return
    end
    event(job, 'progress', { stage = stage.name, done = stage.total, total = stage.total, cached = stage.total })
    redis.call('HSET', job_key(job), 'cached:' .. stage.name, stage.total)
    index = index + 1
  end
end

local function waiters(group) return redis.call('SMEMBERS', group_key(group) .. ':waiters') end

-- What a job did not have to pay for. A shard that is lost counts its checkpoints again: never more than is done.
local function cached_of(inherited, cached, done)
  return math.max(0, math.min(tonumber(done), tonumber(inherited or 0) + tonumber(cached)))
end

local function tell_progress(group)
  local key = group_key(group)
  local values = redis.call('HMGET', key, 'progress', 'total', 'cached')
  for _, job in ipairs(waiters(group)) do
    local seen = redis.call('HMGET', job_key(job), 'stage', 'inherited')
    event(job, 'progress', { stage = seen[1], done = tonumber(values[1]), total = tonumber(values[2]),
      cached = cached_of(seen[2], values[3], values[1]) })
  end
end

local function set_progress(group, unit, done)
  local key = group_key(group)
  local before = tonumber(redis.call('HGET', key .. ':units', 'p' .. unit) or 0)
  if done == before then return false end
  redis.call('HSET', key .. ':units', 'p' .. unit, done)
  redis.call('HINCRBY', key, 'progress', done - before)
  return true
end

local function close_cancelled(group)
  local key = group_key(group)
  if redis.call('ZCARD', key .. ':leased') > 0 and redis.call('SCARD', key .. ':waiters') == 0 then return end
  for _, job in ipairs(redis.call('SMEMBERS', key .. ':closing')) do move(job, 'cancelled') end
  redis.call('DEL', key .. ':closing')
  redis.call('SREM', p .. 'groups:closing', group)
end

local function fail_group(group, error)
  local key = group_key(group)
  redis.call('HSET', key, 'state', 'failed', 'error', error)
  redis.call('SREM', p .. 'groups:open', group)
  for _, job in ipairs(waiters(group)) do
    local detail = cjson.decode(error)
    -- An empty list would come out of cjson as an object.
    if detail.sample_ids and #detail.sample_ids == 0 then detail.sample_ids = nil end
    detail.stage = redis.call('HGET', job_key(job), 'stage')
    redis.call('HSET', job_key(job), 'error', cjson.encode(detail))
    event(job, 'error', detail)
    move(job, 'failed')
  end
  redis.call('DEL', key .. ':waiters')
end

local function tell_retry(group, unit, detail, more)
  more.shard, more.reason, more.code = tonumber(unit), detail.message, detail.code
  for _, job in ipairs(waiters(group)) do
    more.stage = redis.call('HGET', job_key(job), 'stage')
    event(job, 'retry', more)
    if detail.code == 'worker_lost' then redis.call('HINCRBY', job_key(job), 'lost_workers', 1) end
  end
end

-- What a unit took is written down for every job that it was done for; work that is shared counts for each of them.
local function book_time(group, unit)
  local key = group_key(group)
  local since = redis.call('HGET', key .. ':units', 't' .. unit)
  if not since then return end
  redis.call('HDEL', key .. ':units', 't' .. unit)
  for _, job in ipairs(redis.call('SUNION', key .. ':waiters', key .. ':closing')) do
    redis.call('HINCRBYFLOAT', job_key(job), 'worker_seconds', string.format('%.3f', math.max(0, now - tonumber(since))))
  end
end

-- A unit that was leased is to do again, in `pause` seconds.
local function put_back(group, unit, pause)
  local key = group_key(group)
  redis.call('ZREM', key .. ':leased', unit)
  redis.call('HDEL', key .. ':units', 'f' .. unit)
  redis.call('ZADD', key .. ':todo', 0, unit)
  if redis.call('SCARD', key .. ':waiters') == 0 then return end
  if pause == 0 then return ring(group, unit) end
  redis.call('ZADD', key .. ':todo', now + pause, unit)
  redis.call('ZADD', key .. ':later', now + pause, unit)
end

-- A unit that was leased comes back: for another attempt, or, attempts used up, to fail its group.
local function give_back(group, unit, error, retryable, max_attempts)
  book_time(group, unit)
  local attempt = tonumber(redis.call('HGET', group_key(group) .. ':units', 'a' .. unit) or 0)
  local fails = not retryable or attempt >= max_attempts
  if fails then
    fail_group(group, error) -- Nobody waits now, so that no doorbell is rung.
  else
    tell_retry(group, unit, cjson.decode(error), { attempt = attempt })
  end
  put_back(group, unit, 0)
  close_cancelled(group)
end

-- A unit that was leased comes back, and most likely nothing is wrong with it: its worker was lost, or storage failed.
-- That is no attempt. It is tried again after a pause that grows with each setback, and without an end as long as it
-- comes further. The same process lost twice was only paused. A unit that loses one worker after the other, all at the
-- same place, kills them: it fails its group with the setback after `limit`.
local function set_back(group, unit, error, limit)
  book_time(group, unit)
  local units = group_key(group) .. ':units'
  local facts = redis.call('HMGET', units, 'w' .. unit, 'l' .. unit, 'x' .. unit, 'p' .. unit)
  local setbacks = tonumber(facts[3] or 0)
  if error.code ~= 'worker_lost' or facts[1] ~= facts[2] then setbacks = setbacks + 1 end
  redis.call('HSET', units, 'x' .. unit, setbacks)
  if error.code == 'worker_lost' then redis.call('HSET', units, 'l' .. unit, facts[1]) end
  local attempt = tonumber(redis.call('HGET', units, 'a' .. unit) or 1)
  redis.call('HSET', units, 'a' .. unit, math.max(0, attempt - 1))
  local fails = setbacks > limit
  -- The first time at once: workers come and go.
  local pause = setbacks > 1 and math.min(60, 2 ^ (setbacks - 2)) or 0
  if fails then
    error.message = error.message .. ', as ' .. limit .. ' times before without getting further than '
      .. (facts[4] or 0) .. ' in between; '
      .. (error.code == 'worker_lost' and 'most likely this shard kills the worker: its log has the reason (memory?)'
        or 'retry the job when the cause is mended')
    fail_group(group, cjson.encode(error))
  else
    tell_retry(group, unit, error, { attempt = attempt, setbacks = setbacks, pause_seconds = pause })
  end
  put_back(group, unit, pause)
  close_cancelled(group)
end

local function holds(group, unit, fence)
  local key = group_key(group)
  return redis.call('HGET', key .. ':units', 'f' .. unit) == fence
    and redis.call('ZSCORE', key .. ':leased', unit)
end

-- What the index of a job's kind and tenant is called.
local function kind_of(job)
  local facts = redis.call('HMGET', job_key(job), 'kind', 'tenant')
  if not facts[1] then return nil end
  if not facts[2] or facts[2] == 'default' then return facts[1] end
  return facts[1] .. '@' .. facts[2]
end

local ops = {}

-- create job kind fields_json stages_json: a new job, queued, its first stage open
function ops.create(job, kind, fields, stages)
  if redis.call('EXISTS', job_key(job)) == 1 then return 'exists' end
  redis.call('HSET', job_key(job), 'id', job, 'kind', kind, 'status', 'queued', 'created_at', stamp())
  for name, value in pairs(cjson.decode(fields)) do redis.call('HSET', job_key(job), name, value) end
  redis.call('HSET', job_key(job), 'named', 1)
  for _, raw in ipairs(cjson.decode(stages)) do add_stage(job, raw) end
  redis.call('ZADD', p .. 'jobs:' .. kind_of(job), stamp(), job)
  redis.call('SADD', p .. 'kinds', kind_of(job))
  redis.call('SADD', p .. 'jobs:active', job)
  event(job, 'status', { status = 'queued' })
  enter(job, 0)
  return 'ok'
end

-- Why no unit of a group can be claimed now; nil if one can, should it be to do.
local function not_claimable(group)
  local key = group_key(group)
  if redis.call('HGET', key, 'state') ~= 'open' then return 'closed' end
  if redis.call('SCARD', key .. ':waiters') == 0 then return 'idle' end
  for _, name in ipairs(redis.call('SMEMBERS', key .. ':outputs')) do
    -- What a deleted job left here is being removed: what is written now would go with it.
    if redis.call('SISMEMBER', p .. 'garbage:busy', name) == 1 then return 'busy' end
  end
end

local function is_later(group, unit)
  return tonumber(redis.call('ZSCORE', group_key(group) .. ':later', unit) or 0) > now
end

-- claim group unit worker lease: the right to do a unit, for `lease` seconds
function ops.claim(group, unit, worker, lease)
  local key = group_key(group)
  local reason = not_claimable(group)
  if reason == 'closed' then return { reason } end
  if not redis.call('ZSCORE', key .. ':todo', unit) or is_later(group, unit) then return { 'taken' } end
  if reason == 'idle' then redis.call('ZADD', key .. ':todo', 'XX', 0, unit) end
  if reason then return { reason } end
  local attempt = redis.call('HINCRBY', key .. ':units', 'a' .. unit, 1)
  local fence = next_fence()
  redis.call('ZREM', key .. ':todo', unit)
  redis.call('ZREM', key .. ':later', unit)
  redis.call('ZADD', key .. ':leased', now + tonumber(lease), unit)
  redis.call('HSET', key .. ':units', 'f' .. unit, fence, 'w' .. unit, worker, 't' .. unit, stamp())
  for _, job in ipairs(waiters(group)) do move(job, 'running') end
  local group_fields = redis.call('HMGET', key, 'handler', 'spec', 'units', 'total')
  return { 'ok', fence, tostring(attempt), unpack(group_fields) }
end

-- The first unit to do of a tenant in a queue, in the order in which its groups came. Groups without one leave the line.
local function first_of(queue, tenant)
  for _, group in ipairs(redis.call('ZRANGE', queue_key(queue) .. ':' .. tenant, 0, -1)) do
    local unit = redis.call('ZRANGEBYSCORE', group_key(group) .. ':todo', '-inf', now, 'LIMIT', 0, 1)[1]
    local reason = 'taken'
    if unit then reason = not_claimable(group) end
    if not reason then return group, unit end
    if reason ~= 'busy' then leave_line(queue, tenant, group) end
  end
end

-- next queue group unit worker lease: the right to do a unit of a queue, whose doorbell said `group` and `unit`.
--
-- Tenants take turns: the unit is one of the tenant that has waited longest, the one that was rung for if it is that
-- tenant's. Every unit to do was rung for once, so there are as many doorbells as units, whoever is served by which.
function ops.next(queue, group, unit, worker, lease)
  local _, own = place_of(group)
  for _, tenant in ipairs(redis.call('ZRANGE', queue_key(queue), 0, -1)) do
    local found, which = first_of(queue, tenant)
    if found and tenant == own and redis.call('ZSCORE', group_key(group) .. ':todo', unit)
      and not is_later(group, unit) and not not_claimable(group) then
      found, which = group, unit
    end
    if found then
      redis.call('ZADD', queue_key(queue), 'XX', instant(), tenant)
      local answer = ops.claim(found, which, worker, lease)
      return { answer[1], found, which, unpack(answer, 2) }
    end
  end
  local answer = ops.claim(group, unit, worker, lease)
  return { answer[1], group, unit, unpack(answer, 2) }
end

-- renew group unit fence lease progress cached holds: still alive; '' leaves a field as it is
function ops.renew(group, unit, fence, lease, progress, cached, about)
  if not holds(group, unit, fence) then return 'stale' end
  local key = group_key(group)
  if redis.call('SCARD', key .. ':waiters') == 0 then return 'abandoned' end
  redis.call('ZADD', key .. ':leased', now + tonumber(lease), unit)
  if about ~= '' then redis.call('HSET', key .. ':units', 's' .. unit, about) end
  if cached ~= '' then redis.call('HINCRBY', key, 'cached', tonumber(cached)) end
  if progress ~= '' and set_progress(group, unit, tonumber(progress)) then tell_progress(group) end
  if progress ~= '' and tonumber(progress) > tonumber(redis.call('HGET', key .. ':units', 'h' .. unit) or 0) then
    forgive(group, unit)
    redis.call('HSET', key .. ':units', 'h' .. unit, progress, 'a' .. unit, 1)
  end
  return 'ok'
end

-- tell group unit fence kind data_json: an event for the jobs that wait
function ops.tell(group, unit, fence, kind, data)
  if not holds(group, unit, fence) then return 'stale' end
  for _, job in ipairs(waiters(group)) do event_json(job, kind, data) end
  return 'ok'
end

-- commit group unit fence progress commit_json [key field value ...]: the unit's outcome, all or nothing.
-- commit_json: {job: {field: value}, stages: [json, ...], warnings: [text, ...]} for the waiting jobs, and
-- {outputs: [name, ...]} that the unit has written beside those that its stage announced
function ops.commit(group, unit, fence, progress, outcome, ...)
  if not holds(group, unit, fence) then return 'stale' end
  local key = group_key(group)
  book_time(group, unit)
  local writes = { ... }
  for i = 1, #writes, 3 do redis.call('HSET', p .. writes[i], writes[i + 1], writes[i + 2]) end
  redis.call('ZREM', key .. ':leased', unit)
  redis.call('HDEL', key .. ':units', 'f' .. unit, 's' .. unit)
  if set_progress(group, unit, tonumber(progress)) then tell_progress(group) end
  local done = redis.call('HINCRBY', key, 'done', 1)
  local jobs = waiters(group)
  outcome = cjson.decode(outcome)
  add_outputs(group, outcome.outputs)
  -- A job that was cancelled while its worker finished needs the outcome, too: a retry resumes behind this unit.
  for _, job in ipairs(redis.call('SUNION', key .. ':waiters', key .. ':closing')) do
    for name, value in pairs(outcome.job or {}) do redis.call('HSET', job_key(job), name, value) end
    if #(outcome.stages or {}) > 0 then plan(job, outcome.stages) end
    for _, text in ipairs(outcome.warnings or {}) do event(job, 'warning', { message = text }) end
  end
  if done == tonumber(redis.call('HGET', key, 'units')) then
    redis.call('HSET', key, 'state', 'complete')
    redis.call('SREM', p .. 'groups:open', group)
    redis.call('DEL', key .. ':waiters')
    for _, job in ipairs(jobs) do
      local fields = redis.call('HMGET', job_key(job), 'stage', 'stage_index', 'inherited')
      local values = redis.call('HMGET', key, 'cached', 'progress')
      redis.call('HSET', job_key(job), 'cached:' .. fields[1], cached_of(fields[3], values[1], values[2]))
      enter(job, tonumber(fields[2]) + 1)
    end
  end
  close_cancelled(group)
  return 'ok'
end

-- fail group unit fence error_json retryable max_attempts
function ops.fail(group, unit, fence, error, retryable, max_attempts)
  if not holds(group, unit, fence) then return 'stale' end
  give_back(group, unit, error, retryable == '1', tonumber(max_attempts))
  return 'ok'
end

-- set_back group unit fence error_json limit: storage failed, and the unit is not to blame
function ops.set_back(group, unit, fence, error, limit)
  if not holds(group, unit, fence) then return 'stale' end
  set_back(group, unit, cjson.decode(error), tonumber(limit))
  return 'ok'
end

-- release group unit fence: the worker stops although nothing went wrong (cancelled, shutting down)
function ops.release(group, unit, fence)
  if not holds(group, unit, fence) then return 'stale' end
  book_time(group, unit)
  redis.call('HINCRBY', group_key(group) .. ':units', 'a' .. unit, -1)
  put_back(group, unit, 0)
  close_cancelled(group)
  return 'ok'
end

function ops.cancel(job)
  local status = redis.call('HGET', job_key(job), 'status')
  if not status then return 'missing' end
  if status == 'cancelled' or status == 'cancelling' then return 'ok' end
  if status ~= 'queued' and status ~= 'running' then return 'finished' end
  local group = redis.call('HGET', job_key(job), 'group')
  local key = group_key(group)
  redis.call('SREM', key .. ':waiters', job)
  if redis.call('SCARD', key .. ':waiters') == 0 then
    unring(group)
    redis.call('SREM', p .. 'groups:open', group)
    if redis.call('ZCARD', key .. ':leased') > 0 and move(job, 'cancelling') then
      redis.call('SADD', key .. ':closing', job)
      redis.call('SADD', p .. 'groups:closing', group)
      return 'ok'
    end
  end
  move(job, 'cancelled')
  return 'ok'
end

function ops.retry(job)
  local fields = redis.call('HMGET', job_key(job), 'status', 'stage_index', 'emptied_at')
  if not fields[1] or fields[3] then return 'missing' end
  if not move(job, 'queued') then return 'unfinished' end
  redis.call('HDEL', job_key(job), 'reopened')
  redis.call('HINCRBY', job_key(job), 'retries', 1)
  enter(job, tonumber(fields[2]))
  return 'ok'
end

-- The unfinished job that needs a job, itself included; nil if there is none.
local function needed_by(job)
  if not ended(redis.call('HGET', job_key(job), 'status')) then return job end
  for _, other in ipairs(redis.call('SMEMBERS', p .. 'jobs:active')) do
    local needs = redis.call('HGET', job_key(other), 'needs')
    for _, needed in ipairs(needs and cjson.decode(needs) or {}) do
      if needed == job then return other end
    end
  end
end

local function empty(job)
  for _, group in ipairs(groups_of(job, 0)) do unname_group(job, group) end
  redis.call('DEL', job_key(job) .. ':stages')
end

-- empty job: give up what a finished job computed; its record stays
function ops.empty(job)
  if redis.call('EXISTS', job_key(job)) == 0 then return { 'missing' } end
  local by = needed_by(job)
  if by then return { 'in_use', by } end
  empty(job)
  redis.call('HSETNX', job_key(job), 'emptied_at', stamp())
  return { 'ok' }
end

-- delete job: forget a finished job, and what it computed and nobody else names
function ops.delete(job)
  local kind = kind_of(job)
  if not kind then return { 'missing' } end
  local by = needed_by(job)
  if by then return { 'in_use', by } end
  empty(job)
  redis.call('DEL', job_key(job), job_key(job) .. ':events')
  redis.call('ZREM', p .. 'jobs:' .. kind, job)
  if redis.call('EXISTS', p .. 'jobs:' .. kind) == 0 then redis.call('SREM', p .. 'kinds', kind) end
  if redis.call('EXISTS', p .. 'kinds', p .. 'groups:unnamed') == 0 then redis.call('DEL', p .. 'fence') end
  return { 'ok' }
end

-- adopt job stages_json: name the groups of a job that an older release created
function ops.adopt(job, kind, stages)
  if redis.call('EXISTS', job_key(job)) == 0 or redis.call('HSETNX', job_key(job), 'named', 1) == 0 then return 'ok' end
  redis.call('SADD', p .. 'kinds', kind)
  for _, raw in ipairs(cjson.decode(stages)) do name_group(job, cjson.decode(raw)) end
  return 'ok'
end

-- keep owner name ...: 'busy' when one of them is just being deleted, and has to be kept again in a moment
function ops.keep(owner, ...)
  local free = true
  for _, name in ipairs({ ... }) do free = keep(owner, name) and free end
  return free and 'ok' or 'busy'
end

function ops.drop(owner, ...)
  for _, name in ipairs({ ... }) do
    keep(owner, name) -- Also what nobody kept in an older release.
    drop(owner, name)
  end
  return 'ok'
end

-- discard dataset name ...: no longer for a dataset, nor for jobs that have ended; other datasets keep theirs
function ops.discard(dataset, ...)
  for _, name in ipairs({ ... }) do
    local key = p .. 'output:' .. name
    redis.call('SREM', key, dataset)
    local others = false
    for _, owner in ipairs(redis.call('SMEMBERS', key)) do others = others or string.sub(owner, 1, 8) == 'dataset:' end
    if not others then
      redis.call('DEL', key)
      redis.call('ZADD', p .. 'garbage', 'NX', stamp(), name)
    end
  end
  return 'ok'
end

-- take_garbage limit: names that may be deleted now, those first whose deletion broke off
function ops.take_garbage(limit)
  local names = redis.call('SMEMBERS', p .. 'garbage:busy')
  if #names == 0 then
    names = redis.call('ZRANGE', p .. 'garbage', 0, tonumber(limit) - 1)
    if #names > 0 then redis.call('SADD', p .. 'garbage:busy', unpack(names)) end
  end
  return names
end

-- end_garbage name: it is deleted; who waits to make it again may begin
function ops.end_garbage(name)
  redis.call('ZREM', p .. 'garbage', name)
  redis.call('SREM', p .. 'garbage:busy', name)
  for _, owner in ipairs(redis.call('SMEMBERS', p .. 'output:' .. name)) do
    local group = string.match(owner, '^group:(.*)$')
    if group and redis.call('EXISTS', group_key(group) .. ':waiters') == 1 then
      for _, unit in ipairs(redis.call('ZRANGE', group_key(group) .. ':todo', 0, -1)) do ring(group, unit) end
    end
  end
  return 'ok'
end

-- Units of a group are to be done again; those that are not done stay as they are.
local function reopen(group, units)
  local key = group_key(group)
  local state = redis.call('HGET', key, 'state')
  if not state then return end
  for _, unit in ipairs(units) do
    if not redis.call('ZSCORE', key .. ':todo', unit) and not redis.call('ZSCORE', key .. ':leased', unit) then
      redis.call('ZADD', key .. ':todo', 0, unit)
      forgive(group, unit)
      redis.call('HDEL', key .. ':units', 'h' .. unit)
      redis.call('HINCRBY', key, 'done', -1)
      set_progress(group, unit, 0)
      if state == 'complete' then redis.call('HSET', key, 'state', 'open') end
    end
  end
end

-- The first stage of a job, up to the one it is at, whose group is among some.
local function stage_of(job, groups)
  local index = tonumber(redis.call('HGET', job_key(job), 'stage_index'))
  for place, raw in ipairs(redis.call('LRANGE', job_key(job) .. ':stages', 0, index)) do
    local group = cjson.decode(raw).group
    if groups[group] then return place - 1, group end
  end
end

-- reopen group unit fence limit message lost_json: a unit cannot be done, since what an earlier stage made is lost.
-- lost_json: {group: [unit, ...]}, for every group that may have made it. The jobs that wait go back to that stage.
function ops.reopen(group, unit, fence, limit, message, lost)
  if not holds(group, unit, fence) then return 'stale' end
  local key = group_key(group)
  lost = cjson.decode(lost)
  local back = {}
  for _, job in ipairs(waiters(group)) do
    local index, from = stage_of(job, lost)
    if not index then return 'unknown' end
    if from == group then return 'own' end
    if tonumber(redis.call('HGET', job_key(job), 'reopened') or 0) >= tonumber(limit) then return 'again' end
    back[#back + 1] = { job, index, from }
  end
  book_time(group, unit)
  redis.call('ZREM', key .. ':leased', unit)
  redis.call('HDEL', key .. ':units', 'f' .. unit)
  redis.call('HINCRBY', key .. ':units', 'a' .. unit, -1)
  redis.call('ZADD', key .. ':todo', 0, unit)
  redis.call('DEL', key .. ':waiters')
  unring(group)
  redis.call('SREM', p .. 'groups:open', group)
  for _, move_back in ipairs(back) do
    local job, index, from = unpack(move_back)
    redis.call('HINCRBY', job_key(job), 'reopened', 1)
    event(job, 'warning', { message = message })
    reopen(from, lost[from])
    enter(job, index)
  end
  close_cancelled(group)
  return 'ok'
end

-- sweep max_setbacks queue ring_after ...: what no live worker holds is rung again
function ops.sweep(max_setbacks, ...)
  local pairs_of = { ... }
  local ring_after = {}
  for i = 1, #pairs_of, 2 do ring_after[pairs_of[i]] = tonumber(pairs_of[i + 1]) end
  local groups = redis.call('SUNION', p .. 'groups:open', p .. 'groups:closing')
  local expired = 0
  for _, group in ipairs(groups) do
    local key = group_key(group)
    for _, unit in ipairs(redis.call('ZRANGEBYSCORE', key .. ':leased', '-inf', now)) do
      expired = expired + 1
      local facts = redis.call('HMGET', key .. ':units', 'w' .. unit, 's' .. unit)
      local detail = { code = 'worker_lost',
        message = 'the worker ' .. (facts[1] or '?') .. ' was lost while it held shard ' .. unit }
      if facts[2] then detail.sample_ids = cjson.decode(facts[2]) end
      set_back(group, unit, detail, tonumber(max_setbacks))
    end
    if redis.call('HGET', key, 'state') == 'open' and redis.call('SCARD', key .. ':waiters') > 0 then
      local patience = ring_after[redis.call('HGET', key, 'queue')] or 30
      local silent = redis.call('ZRANGEBYSCORE', key .. ':todo', '-inf', now - patience, 'LIMIT', 0, 1000)
      for _, unit in ipairs(silent) do ring(group, unit) end
      for _, unit in ipairs(redis.call('ZRANGEBYSCORE', key .. ':later', '-inf', now)) do
        redis.call('ZREM', key .. ':later', unit)
        ring(group, unit)
      end
    end
    close_cancelled(group)
  end
  for _, group in ipairs(redis.call('SMEMBERS', p .. 'groups:unnamed')) do
    local key = group_key(group)
    for _, unit in ipairs(redis.call('ZRANGEBYSCORE', key .. ':leased', '-inf', now)) do
      redis.call('ZREM', key .. ':leased', unit)
      redis.call('HDEL', key .. ':units', 'f' .. unit)
      redis.call('ZADD', key .. ':todo', 0, unit)
    end
    collect(group)
  end
  return tostring(expired)
end

local handler = ops[op]
if not handler then return redis.error_reply('unknown operation ' .. tostring(op)) end
local answer = handler(unpack(ARGV, 2))
return { answer, rings }
