--- Watches the completion menus that may be open at the same time as ghost text: those of Neovim, blink.cmp and
--- nvim-cmp. It uses only the documented parts of both plugins: `is_menu_visible` and the events BlinkCmpMenuOpen and
--- BlinkCmpMenuClose; `visible` and the events menu_opened and menu_closed.

local M = {}

local listeners = {} ---@type fun(open: boolean)[]
local is_watching, listens_to_cmp = false, false

local function call_predicate(module, name)
  local loaded = package.loaded[module]
  local predicate = type(loaded) == "table" and loaded[name]
  if not predicate then
    return false
  end
  local ok, answer = pcall(predicate)
  return ok and answer == true
end

--- Return whether a menu is open.
---@return boolean
function M.is_open()
  return vim.fn.pumvisible() == 1
    or call_predicate("blink.cmp", "is_menu_visible")
    or call_predicate("cmp", "visible")
end

local function notify_listeners(open)
  vim.schedule(function()
    for _, listener in ipairs(listeners) do
      listener(open)
    end
  end)
end

--- Listen to nvim-cmp's events, once it is loaded, which is often only at the first need.
local function listen_to_cmp()
  local cmp = package.loaded["cmp"]
  if listens_to_cmp or type(cmp) ~= "table" or not cmp.event then
    return
  end
  listens_to_cmp = true
  cmp.event:on("menu_opened", function()
    notify_listeners(true)
  end)
  cmp.event:on("menu_closed", function()
    notify_listeners(false)
  end)
end

--- Call a function whenever a menu is opened or closed.
---@param listener fun(open: boolean)
function M.watch(listener)
  table.insert(listeners, listener)
  if is_watching then
    return
  end
  is_watching = true
  local group = vim.api.nvim_create_augroup("mercury.menu", {})
  local function on(event, pattern, open)
    vim.api.nvim_create_autocmd(event, {
      group = group,
      pattern = pattern,
      callback = function()
        notify_listeners(open)
      end,
    })
  end
  on("CompleteChanged", "*", true)
  on("CompleteDone", "*", false)
  on("User", "BlinkCmpMenuOpen", true)
  on("User", "BlinkCmpMenuClose", false)
  vim.api.nvim_create_autocmd("InsertEnter", { group = group, callback = listen_to_cmp })
end

return M
