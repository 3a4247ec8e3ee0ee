--- Mercury in Neovim: ghost text from `mercury-lsp`. This file has the functions for users.

local M = {}

-- Whether `setup` was called.
M.ready = false

--- Set up the plugin, and start the server for open files and for files that are opened later.
---@param given? mercury.Options
function M.setup(given)
  if vim.fn.has("nvim-0.11") == 0 then
    vim.notify("mercury: Neovim 0.11 or newer is needed.", vim.log.levels.ERROR)
    return
  end
  local server, native, drawn = require("mercury.server"), require("mercury.native"), require("mercury.drawn")
  local actions = require("mercury.actions")
  local options, problems = require("mercury.config").read(given)
  server.options = options
  if #problems > 0 then
    server.say(table.concat(problems, " "), vim.log.levels.WARN)
  end
  actions.native = options.engine == "native" and native.exists()
  if options.engine == "native" and not actions.native then
    server.say("this Neovim has no ghost text of its own; the plugin draws it.", vim.log.levels.WARN)
  end
  drawn.watch(not actions.native)
  if actions.native then
    native.watch(function()
      if drawn.current() then
        -- A suggestion of this plugin stays until it is used up or does not fit any more.
        native.take()
      end
    end)
  end
  if options.next_edit then
    require("mercury.next_edit").watch()
  else
    options.keys.next_edit, options.keys.dismiss_edit = false, false
  end
  require("mercury.keys").setup(options.keys, actions)
  require("mercury.command").create()
  server.setup(function(buf)
    if actions.native then
      native.enable(buf)
    end
  end)
  M.ready = true
end

--- Return the server's state in a few words, for a statusline.
---@return string
function M.status()
  return M.ready and require("mercury.status").text() or ""
end

--- The actions as functions, for the user's own mappings: `accept`, `accept_word`, `accept_line`, `next`, `previous`,
--- `ask`, `dismiss`, `next_edit`, `dismiss_edit`. Each returns whether it had anything to do.
setmetatable(M, {
  __index = function(_, name)
    return require("mercury.config").defaults.keys[name] and require("mercury.actions")[name] or nil
  end,
})

return M
