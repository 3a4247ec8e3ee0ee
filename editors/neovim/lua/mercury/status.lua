--- Keeps the server's status, and words it for a statusline and in sentences. A running server without a status counts
--- as ready.

local M = {}

---@class mercury.Status the server's `mercury/status`
---@field state "loading"|"ready"|"failed"|"off"|"snoozed"
---@field model? string
---@field device? string
---@field fraction? number the loaded share, from 0 to 1
---@field until? string the end of a snooze, in ISO 8601
---@field remote? { host: string, mode: "always"|"fallback", breaker: string, told: string } the hosted model, if any
---@field message? string the reason for a failure
---@field median_ms? number the median latency of the last answers
---@field last? { ms: number, shown: boolean, recalled: boolean, reason?: string }

local latest ---@type mercury.Status?

local function notify_changed()
  vim.schedule(function()
    vim.api.nvim_exec_autocmds("User", { pattern = "MercuryStatus", modeline = false })
    vim.cmd.redrawstatus({ bang = true })
  end)
end

--- Return a table without the protocol's nulls.
local function without_nulls(fields)
  return type(fields) == "table" and vim.iter(fields):fold({}, function(all, name, value)
    if value ~= vim.NIL then
      all[name] = value
    end
    return all
  end) or nil
end

--- Take a status of the server.
---@param status any
function M.update(status)
  latest = without_nulls(status)
  notify_changed()
end

--- Handle the attachment of a client to a buffer: request the server's status if it is unknown.
---@param client vim.lsp.Client
function M.on_attach(client)
  if latest == nil then
    client:request("mercury/status", nil, function(error, status)
      if not error then
        M.update(status)
      end
    end)
  end
  notify_changed()
end

--- Forget the status after the end of the server.
function M.clear()
  latest = nil
  notify_changed()
end

--- Return the server's last status.
---@return mercury.Status?
function M.latest()
  return latest
end

--- Return the time of day in an ISO 8601 timestamp.
local function time_of_day(moment)
  return type(moment) == "string" and moment:match("T(%d%d:%d%d)") or "later"
end

--- Return a few words for a statusline, without a %, or "" in a buffer without the server.
---@return string
function M.text()
  if #vim.lsp.get_clients({ name = "mercury", bufnr = 0 }) == 0 then
    return ""
  end
  local status = latest or { state = "ready" }
  if status.state == "ready" then
    local name = status.remote and status.remote.host ~= "" and "Mercury via " .. status.remote.host or "Mercury"
    return status.median_ms and ("%s %.0f ms"):format(name, status.median_ms) or name
  elseif status.state == "snoozed" then
    return "Mercury: paused until " .. time_of_day(status["until"])
  end
  return "Mercury: " .. status.state
end

--- Return the whole status in sentences.
---@return string[]
function M.sentences()
  local status = latest
  if not status then
    return { "The server runs; it does not tell its state." }
  end
  local lines = {
    ("The server is %s: model %s on %s."):format(status.state, status.model or "?", status.device or "?"),
  }
  if status.state == "snoozed" then
    lines[1] = ("Suggestions are paused until %s."):format(time_of_day(status["until"]))
  end
  if status.remote then
    table.insert(lines, status.remote.told)
  end
  if status.message then
    table.insert(lines, status.message)
  end
  if status.median_ms then
    table.insert(lines, ("Half of the last answers took less than %.1f ms."):format(status.median_ms))
  end
  local last = without_nulls(status.last)
  if last then
    local outcome = last.shown and "shown" or ("not shown: " .. (last.reason or "there was nothing to say"))
    table.insert(lines, ("The last answer took %.1f ms and was %s"):format(last.ms, outcome))
  end
  return lines
end

return M
