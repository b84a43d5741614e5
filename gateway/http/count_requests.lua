-- Counts one request against several limits, in order, up to the first that refuses it: a sliding window counter
-- each, as the library `limits` has it. One script, because each round trip costs a request half a millisecond.
--
-- KEYS  two for each limit: the count of the window before, and of this one
-- ARGV  two for each limit: its amount, and its window in milliseconds
--
-- Returns the number of the limit that refused the request, or 0; then what is left of that limit, or of the
-- first, and the milliseconds until there is more.
local function number(command, key)
    return math.max(0, tonumber(redis.call(command, key)) or 0)
end

-- From 1 to the whole period.
local function rest(time, period)
    return (time - 1) % period + 1
end

local function state(previous, current, amount, window)
    local ttl = number('pttl', current)
    if ttl > 0 and ttl < window then
        -- This window is over: it becomes the one before.
        redis.call('rename', current, previous)
        redis.call('set', current, 0, 'PX', ttl + window)
    end
    local before, before_ttl = number('get', previous), number('pttl', previous)
    local now, now_ttl = number('get', current), number('pttl', current)
    local left = amount - math.floor(before * before_ttl / window) - now
    local reset = window
    if before > 0 then
        reset = rest(before_ttl, window / before)
    end
    if now > 0 then
        reset = math.min(reset, rest(now_ttl, window))
    end
    return left, math.floor(reset)
end

for limit = 1, #KEYS / 2 do
    local previous, current = KEYS[2 * limit - 1], KEYS[2 * limit]
    local amount, window = tonumber(ARGV[2 * limit - 1]), tonumber(ARGV[2 * limit])
    local left, reset = state(previous, current, amount, window)
    if left < 1 then
        return {limit, 0, reset}
    end
    if redis.call('exists', current) == 1 then
        redis.call('incrby', current, 1)
    else
        redis.call('set', current, 1, 'PX', 2 * window)
    end
end

local left, reset = state(KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]))
return {0, math.max(0, left), reset}
