--- `:checkhealth mercury`: checks the installation, and tells how to fix problems.

local config = require("mercury.config")
local keys = require("mercury.keys")
local server = require("mercury.server")
local status = require("mercury.status")

local M = {}

local health = vim.health

local function check_neovim()
  local version = tostring(vim.version())
  if vim.lsp.inline_completion then
    health.ok(("Neovim %s, which has ghost text of its own"):format(version))
  elseif vim.fn.has("nvim-0.11") == 1 then
    health.ok(("Neovim %s: this plugin asks for suggestions and draws them"):format(version))
  else
    health.error(("Neovim %s is too old"):format(version), "Install Neovim 0.11 or newer.")
  end
end

--- Check the server's program and report its version.
---@return boolean
local function check_program()
  local path = server.program()
  if not path then
    health.error("The server is not found: " .. server.options.cmd[1], {
      "Install it: `pipx install mercury-lsp` or `uv tool install mercury-lsp`.",
      'Or name it: require("mercury").setup({ cmd = { "/path/to/mercury-lsp", "--stdio" } }).',
      "What Neovim searches is `:echo $PATH`.",
    })
    return false
  end
  local command = vim.tbl_filter(function(word)
    return word ~= "--stdio"
  end, server.options.cmd)
  table.insert(command, "--version")
  local ok, result = pcall(function()
    return vim.system(command, { text = true, timeout = 20000 }):wait()
  end)
  if ok and result.code == 0 then
    health.ok(("The server is %s, %s"):format(path, vim.trim(result.stdout)))
    return true
  end
  health.error(("The server is found, %s, but does not run"):format(path), {
    "Run it in a terminal: " .. table.concat(command, " "),
    ok and vim.trim(result.stderr or "") or tostring(result),
  })
  return false
end

--- Return the buffer that the user came from, because the report has a buffer of its own.
local function visited_buffer()
  local buf = vim.fn.bufnr("#")
  return buf > 0 and buf or vim.api.nvim_get_current_buf()
end

---@return vim.lsp.Client?
local function check_client()
  local client = server.client()
  if not client then
    health.error("The server does not run", {
      "Open a file whose type Neovim knows (`:set filetype?`): it starts with the first.",
      "`:Mercury restart` starts it again after it ended.",
      "Its words are in " .. vim.lsp.log.get_filename() .. ".",
    })
    return nil
  end
  local buf = visited_buffer()
  health.ok(("The server runs (client %d, positions in %s)"):format(client.id, client.offset_encoding))
  if client.attached_buffers[buf] then
    health.ok(("It sees the file that you came from, of type %s"):format(vim.bo[buf].filetype))
  elseif vim.bo[buf].buftype == "" then
    health.warn("It does not see the file that you came from", {
      "Its type must be known (`:set filetype?`), and among the option filetypes, if that is given.",
    })
  end
  return client
end

--- Send a request to the server, and wait for the answer.
local function request_sync(client, method, params)
  local answer = client:request_sync(method, params, 3000)
  return answer and not answer.err and answer.result or nil
end

local function check_state(client)
  local current_status = request_sync(client, "mercury/status", nil)
  if current_status then
    status.update(current_status)
    local report = ({ ready = health.ok, failed = health.error })[current_status.state] or health.warn
    local advice = ({
      failed = "Run `mercury-lsp doctor` in a terminal.",
      loading = "Wait a moment; the model is loaded once, when the server starts.",
      off = "`:Mercury enable` switches suggestions on.",
      snoozed = "`:Mercury resume` ends the pause.",
    })[current_status.state]
    report(table.concat(status.sentences(), " "), advice)
  else
    health.info("The server does not tell whether its model is ready; `mercury-lsp doctor` does.")
  end
end

local function check_ghost_text(client)
  if not client.server_capabilities.inlineCompletionProvider then
    health.error("The server offers no inline completion", "Update it: `pipx upgrade mercury-lsp`.")
  elseif not require("mercury.actions").native then
    health.ok("This plugin asks for inline completion")
  elseif vim.lsp.inline_completion.is_enabled({ bufnr = visited_buffer() }) or not client.attached_buffers[visited_buffer()] then
    health.ok("Inline completion is enabled in Neovim")
  else
    health.warn("Inline completion is switched off in the file that you came from", {
      "`:lua vim.lsp.inline_completion.enable(true)` switches it on.",
    })
  end
end

--- Report the server's settings that the user has changed.
local function report_settings()
  local names = vim.tbl_keys(server.options.settings)
  table.sort(names)
  if #names == 0 then
    health.ok("All of the server's settings are defaults")
  end
  for _, name in ipairs(names) do
    health.info(("%s = %s"):format(name, vim.inspect(server.options.settings[name], { newline = " ", indent = "" })))
  end
end

local function check_keys()
  for action in vim.spairs(config.defaults.keys) do
    local bound = keys.list(server.options.keys[action])
    if #bound == 0 then
      health.info(("No key is bound to %s"):format(action))
    end
    for _, key in ipairs(bound) do
      local mapping = vim.api.nvim_buf_call(visited_buffer(), function()
        return vim.fn.maparg(key, keys.mode(action), false, true)
      end)
      local owner = mapping.desc or mapping.rhs or "something"
      if vim.startswith(mapping.desc or "", keys.MARK) then
        health.ok(("%s: %s"):format(key, action))
      elseif mapping.buffer == 1 then
        health.warn(("%s (%s) is mapped in the file that you came from by another plugin: %s"):format(key, action, owner), {
          "That is fine where it passes on what it does not use, as blink.cmp and nvim-cmp do; see |mercury-menus|.",
          ('Or choose another key: setup({ keys = { %s = "<C-l>" } }).'):format(action),
        })
      else
        health.warn(("%s (%s) was mapped by something else afterwards: %s"):format(key, action, owner), {
          "Call setup() of this plugin later than what maps it,",
          ('or choose another key: setup({ keys = { %s = "<C-l>" } }).'):format(action),
        })
      end
    end
  end
end

--- Run all checks for `:checkhealth`.
function M.check()
  health.start("mercury: Neovim and the server")
  check_neovim()
  if not require("mercury").ready then
    health.error("It is not set up", 'Put require("mercury").setup() into your init.lua.')
    return
  end
  local client = check_program() and check_client() or nil
  if client then
    check_state(client)
    check_ghost_text(client)
  end
  health.start("mercury: settings of the server")
  report_settings()
  health.start("mercury: keys in insert mode and normal mode")
  check_keys()
end

return M
