-- What wrk sends for gateway/operate/bench.py. KIND says which work, SENDERS is a file of tokens, one a line,
-- SALT makes idempotency keys unique over runs. BUDGET, where it is set, is how often `use` can be paid.

local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, micros; } wall_time; int gettimeofday(wall_time *, void *);")

local function now()
    local time = ffi.new("wall_time")
    ffi.C.gettimeofday(time, nil)
    return tonumber(time.seconds) + tonumber(time.micros) / 1e6
end

local kind, salt = os.getenv("KIND"), os.getenv("SALT")
local budget = tonumber(os.getenv("BUDGET"))
local the_thread -- there is one, so that no two use a refresh token

function setup(thread)
    the_thread = thread
end

function init()
    senders = {}
    for line in io.lines(os.getenv("SENDERS")) do
        senders[#senders + 1] = line
    end
    sent = 0
    started = now()
end

local json = { ["Content-Type"] = "application/json" }

local function next_sender()
    sent = sent + 1
    return senders[sent % #senders + 1]
end

local function bearer()
    return { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. next_sender() }
end

local requests = {
    balance = function() return wrk.format("GET", "/api/v1/credits/balance", bearer()) end,
    page = function() return wrk.format("GET", "/api/v1/credits/transactions", bearer()) end,
    deep_page = function()
        return wrk.format("GET", "/api/v1/credits/transactions?before=" .. os.getenv("BEFORE"), bearer())
    end,
    use = function()
        if budget and sent >= budget then
            seconds = seconds or now() - started
            wrk.thread:stop()
        end
        local headers = bearer()
        local key = salt .. "-" .. sent
        return wrk.format("POST", "/api/v1/credits/use", headers,
            '{"amount":1,"appId":"bench","description":"One request","idempotencyKey":"' .. key .. '"}')
    end,
    validate = function()
        return wrk.format("POST", "/api/v1/auth/validate", json, '{"token":"' .. next_sender() .. '"}')
    end,
    refresh = function()
        local token = table.remove(senders, 1) or "none is left: answers were wrong"
        return wrk.format("POST", "/api/v1/auth/refresh", json, '{"refreshToken":"' .. token .. '"}')
    end,
}

request = requests[kind]

-- Reading answers costs wrk as much as sending: only where the status does not say it all.
wrong = 0
if kind == "refresh" then
    function response(status, headers, body)
        senders[#senders + 1] = body:match('"refreshToken":"([^"]+)"')
    end
elseif kind == "validate" then
    function response(status, headers, body)
        if status == 200 and not body:find('"valid"%s*:%s*true') then wrong = wrong + 1 end
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"seconds":%.6f,"errors":%d,"p50":%.3f,"p95":%.3f,"p99":%.3f}\n',
        summary.requests, the_thread:get("seconds") or summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout + the_thread:get("wrong"),
        latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
