--- The command `:Mercury` and its subcommands.

local server = require("mercury.server")
local status = require("mercury.status")

local M = {}

-- The longest pause in minutes, which is the server's own limit.
local MAX_PAUSE_MINUTES = 7 * 24 * 60

--- Return the place of the last request for a suggestion: the cursor, or in normal mode the place at which the user
--- left insert mode, which is after the cursor at the end of a line.
---@return table LSP position
local function request_position(client)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  local _, line, col = unpack(vim.fn.getpos("'^"))
  local cursor = vim.api.nvim_win_get_cursor(0)
  if vim.api.nvim_get_mode().mode:sub(1, 1) ~= "i" and line == cursor[1] and col == cursor[2] + 2 then
    local text = vim.api.nvim_get_current_line()
    params.position.character = vim.str_utfindex(text, client.offset_encoding, col - 1, false)
  end
  return params
end

--- Parse a number in the command line; show a message and return nil if it is not a number up to `maximum`.
local function parse_number(argument, default, maximum)
  local value = argument == nil and default or tonumber(argument)
  if value and value > 0 and value <= maximum then
    return value
  end
  server.say(("%s must be a number up to %d."):format(argument, maximum), vim.log.levels.ERROR)
end

--- Switch suggestions on or off: in all languages, or in some.
---@param on boolean
---@param languages string[]
local function set_enabled(on, languages)
  if #languages == 0 then
    server.set("enabled", on)
    return
  end
  local disabled = {}
  for _, language in ipairs(server.options.settings.disabled_languages or {}) do
    disabled[language] = true
  end
  for _, language in ipairs(languages) do
    disabled[language] = not on or nil
  end
  local list = vim.tbl_keys(disabled)
  table.sort(list)
  server.set("disabled_languages", list)
end

--- Append a nested table of figures as indented lines, each number after its name.
local function figure_lines(value, indent, lines)
  local names = vim.tbl_keys(value)
  table.sort(names)
  for _, name in ipairs(names) do
    local figure = value[name]
    if type(figure) == "table" then
      table.insert(lines, indent .. name)
      figure_lines(figure, indent .. "  ", lines)
    elseif figure ~= vim.NIL then
      table.insert(lines, ("%s%s: %s"):format(indent, name, figure))
    end
  end
  return lines
end

local subcommands = {
  pause = function(minutes)
    local value = parse_number(minutes, 10, MAX_PAUSE_MINUTES)
    if value then
      server.execute("mercury.snooze", { value }, function(moment)
        server.say("paused until " .. tostring(moment):match("T(%d%d:%d%d)") .. "; `:Mercury resume` ends that.")
      end)
    end
  end,
  resume = function()
    server.execute("mercury.resume", {}, function()
      server.say("suggestions are on again.")
    end)
  end,
  disable = function(...)
    set_enabled(false, { ... })
  end,
  enable = function(...)
    set_enabled(true, { ... })
  end,
  toggle = function()
    set_enabled(server.options.settings.enabled == false, {})
  end,
  explain = function()
    local client = server.client(0)
    if not client then
      server.say("the server does not see this file; `:checkhealth mercury` tells why.", vim.log.levels.WARN)
      return
    end
    server.execute("mercury.explain", { request_position(client) }, function(sentence)
      server.say(tostring(sentence))
    end)
  end,
  status = function()
    if server.client() then
      server.say(table.concat(status.sentences(), "\n"))
    else
      server.say("the server does not run; `:checkhealth mercury` tells why.", vim.log.levels.WARN)
    end
  end,
  restart = function()
    server.restart()
  end,
  stats = function(days)
    local value = parse_number(days, 30, 3650)
    if value then
      server.execute("mercury.stats", { value }, function(stats)
        local lines = figure_lines(stats, "", { ("Mercury, the last %d days"):format(value), "" })
        vim.lsp.util.open_floating_preview(lines, "text", { border = "rounded", focus_id = "mercury.stats" })
      end)
    end
  end,
  health = function()
    vim.cmd.checkhealth("mercury")
  end,
}

--- Complete the command line.
---@return string[]
local function complete(lead, line)
  local before = vim.split(line:sub(1, -#lead - 1), "%s+", { trimempty = true })
  if #before == 1 then
    local names = vim.tbl_keys(subcommands)
    table.sort(names)
    return vim.tbl_filter(function(name)
      return vim.startswith(name, lead)
    end, names)
  elseif before[2] == "disable" then
    return vim.fn.getcompletion(lead, "filetype")
  elseif before[2] == "enable" then
    return vim.deepcopy(server.options.settings.disabled_languages or {})
  end
  return {}
end

--- Create the command.
function M.create()
  vim.api.nvim_create_user_command("Mercury", function(call)
    local name = call.fargs[1]
    if not subcommands[name] then
      server.say(("there is no `:Mercury %s`; <Tab> lists what there is."):format(name), vim.log.levels.ERROR)
      return
    end
    subcommands[name](unpack(call.fargs, 2))
  end, { nargs = "+", complete = complete, desc = "Suggestions of mercury-lsp" })
end

return M
