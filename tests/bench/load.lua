-- The load of tests/bench/run.py, for wrk. KIND says which work, TOKENS is a file of tokens, one a
-- line, SALT makes idempotency keys unique over runs.

local kind, salt = os.getenv("KIND"), os.getenv("SALT")
local threads = 0

function setup(thread)
    thread:set("thread_id", threads)
    threads = threads + 1
end

function init()
    tokens = {}
    for line in io.lines(os.getenv("TOKENS")) do
        tokens[#tokens + 1] = line
    end
    -- Threads share the tokens without using one twice, which a refresh token would not forgive.
    mine = {}
    local of = tonumber(os.getenv("THREADS"))
    for i = thread_id + 1, #tokens, of do
        mine[#mine + 1] = tokens[i]
    end
    sent = 0
end

local json = { ["Content-Type"] = "application/json" }

local function bearer()
    sent = sent + 1
    return { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. mine[sent % #mine + 1] }
end

local requests = {
    balance = function() return wrk.format("GET", "/api/v1/credits/balance", bearer()) end,
    page = function() return wrk.format("GET", "/api/v1/credits/transactions", bearer()) end,
    deep_page = function()
        return wrk.format("GET", "/api/v1/credits/transactions?before=" .. os.getenv("BEFORE"), bearer())
    end,
    use = function()
        local headers = bearer()
        local key = salt .. "-" .. thread_id .. "-" .. sent
        return wrk.format("POST", "/api/v1/credits/use", headers,
            '{"amount":1,"appId":"bench","description":"One request","idempotencyKey":"' .. key .. '"}')
    end,
    validate = function()
        sent = sent + 1
        return wrk.format("POST", "/api/v1/auth/validate", json, '{"token":"' .. mine[sent % #mine + 1] .. '"}')
    end,
    login = function()
        sent = sent + 1
        return wrk.format("POST", "/api/v1/auth/login", json,
            '{"email":"user' .. sent % 400 .. '@example.com","password":"' .. os.getenv("PASSWORD") .. '"}')
    end,
    refresh = function()
        return wrk.format("POST", "/api/v1/auth/refresh", json, '{"refreshToken":"' .. table.remove(mine, 1) .. '"}')
    end,
}

request = requests[kind]

wrong = 0
if kind == "refresh" then
    function response(status, headers, body)
        mine[#mine + 1] = body:match('"refreshToken":"([^"]+)"')
        if status ~= 200 then wrong = wrong + 1 end
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"seconds":%.6f,"errors":%d,"p50":%.3f,"p95":%.3f,"p99":%.3f}\n',
        summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
