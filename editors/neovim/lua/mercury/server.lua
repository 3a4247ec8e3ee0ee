--- Finds the server, starts it through Neovim's own LSP client, sends it the settings, and restarts it after a crash.

local status = require("mercury.status")

local M = {}

M.NAME = "mercury"
-- The server is restarted after at most so many crashes in so many seconds.
local MAX_CRASHES, CRASH_PERIOD_SECONDS = 3, 180

M.options = require("mercury.config").defaults ---@type mercury.Options
local crash_times = {} ---@type number[] the times of the server's crashes, in seconds
local is_exiting = false

--- Return the client of a buffer, or of any buffer if none is given; nil if there is none.
---@param buf? integer
---@return vim.lsp.Client?
function M.client(buf)
  return vim.lsp.get_clients({ name = M.NAME, bufnr = buf })[1]
end

--- Return the path of the server's program, or nil if it is not found.
---@return string?
function M.program()
  local path = vim.fn.exepath(M.options.cmd[1])
  return path ~= "" and path or nil
end

--- Return the message for a program that is not found.
---@return string
function M.how_to_install()
  return ("the server %q is not found. Install it as its README says, "):format(
    M.options.cmd[1]
  ) .. 'or name it: require("mercury").setup({ cmd = { "/path/to/mercury-lsp", "--stdio" } }).'
end

---@param text string
---@param level? integer
function M.say(text, level)
  vim.notify("mercury: " .. text, level or vim.log.levels.INFO)
end

--- Return the settings as the server gets them; `set` changes some for this session only.
local function settings()
  local all = vim.tbl_extend("keep", M.options.settings, { enabled = true })
  return { mercury = all }
end

--- Start the server for the open files, unless it runs.
function M.start()
  if not M.program() then
    M.say(M.how_to_install(), vim.log.levels.ERROR)
    return
  end
  vim.lsp.enable(M.NAME)
end

--- Handle the end of the server; an end without a request to stop is a crash.
local function on_exit(code, signal)
  status.clear()
  if is_exiting or (code == 0 and (signal == 0 or signal == 15)) then
    return
  end
  local now = vim.uv.now() / 1000
  table.insert(crash_times, now)
  crash_times = vim.tbl_filter(function(moment)
    return now - moment < CRASH_PERIOD_SECONDS
  end, crash_times)
  vim.schedule(function()
    if #crash_times > MAX_CRASHES then
      M.say(
        ("the server ended %d times in %d s and is not started again. `:checkhealth mercury` may tell why; "):format(
          #crash_times,
          CRASH_PERIOD_SECONDS
        ) .. "`:Mercury restart` starts it.",
        vim.log.levels.ERROR
      )
      return
    end
    M.say("the server ended unexpectedly; it is started again.", vim.log.levels.WARN)
    vim.defer_fn(M.start, 500)
  end)
end

--- Register the server with Neovim's LSP client, and start it.
---@param on_attach fun(buf: integer)
function M.setup(on_attach)
  vim.lsp.config(M.NAME, {
    cmd = M.options.cmd,
    filetypes = M.options.filetypes,
    root_markers = M.options.root_markers,
    settings = settings(),
    capabilities = {
      textDocument = { inlineCompletion = { dynamicRegistration = false } },
      experimental = { mercury = { status = true, nextEdit = M.options.next_edit } },
    },
    -- Short, because the server prefetches at each change.
    flags = { debounce_text_changes = 10 },
    handlers = {
      ["mercury/status"] = function(_, value)
        status.update(value)
      end,
    },
    on_attach = function(client, buf)
      status.on_attach(client)
      on_attach(buf)
    end,
    on_exit = on_exit,
  })
  vim.api.nvim_create_autocmd("VimLeavePre", {
    group = vim.api.nvim_create_augroup("mercury.server", {}),
    callback = function()
      is_exiting = true
    end,
  })
  M.start()
end

--- Change one of the server's settings, for running and for future clients.
---@param name string
---@param value any
function M.set(name, value)
  M.options.settings[name] = value
  vim.lsp.config(M.NAME, { settings = settings() })
  for _, client in ipairs(vim.lsp.get_clients({ name = M.NAME })) do
    client.settings = settings()
    client:notify("workspace/didChangeConfiguration", { settings = client.settings })
  end
end

--- Run one of the server's commands, and call `on_result` with its result; show an error to the user.
---@param command string
---@param arguments any[]
---@param on_result fun(result: any)
function M.execute(command, arguments, on_result)
  local client = M.client()
  if not client then
    M.say("the server does not run; `:checkhealth mercury` tells why.", vim.log.levels.WARN)
    return
  end
  local params = { command = command, arguments = arguments }
  client:request("workspace/executeCommand", params, function(error, result)
    if error then
      M.say(error.message, vim.log.levels.ERROR)
    else
      on_result(result)
    end
  end)
end

--- Stop the server, and start it again after its end.
function M.restart()
  crash_times = {}
  vim.lsp.enable(M.NAME, false)
  local attempts_left = 50
  local function start_when_stopped()
    attempts_left = attempts_left - 1
    local running = vim.lsp.get_clients({ name = M.NAME })
    if #running > 0 and attempts_left > 0 then
      vim.defer_fn(start_when_stopped, 100)
      return
    end
    for _, client in ipairs(running) do
      client:stop(true)
    end
    M.start()
  end
  start_when_stopped()
end

return M
