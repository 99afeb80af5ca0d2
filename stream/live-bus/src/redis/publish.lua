-- Publishes positions, each only where it is newer than what is there.
-- ARGV: seconds a driver is kept, seconds an order is kept, then for each position
--       order id or '', driver id, version, cell, microseconds of the measurement, JSON.
-- One Redis, or a primary with replicas: keys are made here, so not a Redis Cluster.

-- Versions are up to 20 digits, more than a number of Lua holds: longer is greater.
local function newer(json, version)
  if not json then return true end
  local last = string.match(json, '"version":(%d+)')
  if #version ~= #last then return #version > #last end
  return version > last
end

local keep_driver, keep_order = ARGV[1], ARGV[2]
for i = 3, #ARGV, 6 do
  local order, driver, version, cell, at, json = unpack(ARGV, i, i + 5)

  local driver_key = 'driver:' .. driver .. ':position'
  local last = redis.call('GET', driver_key)
  if newer(last, version) then
    local before = last and string.match(last, '"h3_r9":(-?%d+)')
    if before and before ~= cell then redis.call('ZREM', 'cell:' .. before, driver) end
    redis.call('SET', driver_key, json, 'EX', keep_driver)
    local cell_key = 'cell:' .. cell
    redis.call('ZADD', cell_key, at, driver)
    redis.call('EXPIRE', cell_key, keep_driver)
    -- Drivers who fell silent here, so that a busy cell does not grow.
    redis.call('ZREMRANGEBYSCORE', cell_key, '-inf', at - keep_driver * 5000000)
  end

  if order ~= '' then
    local order_key = 'order:' .. order .. ':location'
    if newer(redis.call('GET', order_key), version)
      and redis.call('EXISTS', 'order:' .. order .. ':closed') == 0 then
      redis.call('SET', order_key, json, 'EX', keep_order)
      redis.call('PUBLISH', order_key, json)
    end
  end
end
return 0
