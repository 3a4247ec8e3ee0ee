--- Enables Neovim 0.12's own ghost text, `vim.lsp.inline_completion`, and takes over its suggestions. It uses public
--- functions only: `get` hands over the item and removes it, and the event LspRequest tells the place of its request.

local menu = require("mercury.menu")
local server = require("mercury.server")
local suggestion = require("mercury.suggestion")

local M = {}

local METHOD = "textDocument/inlineCompletion"
local request_places = {} ---@type table<string, mercury.Place> by client and request
local shown_place ---@type mercury.Place? the place of the request for the shown item

--- Return whether this Neovim has ghost text of its own.
function M.exists()
  return vim.lsp.inline_completion ~= nil
end

---@param item vim.lsp.inline_completion.Item
---@return mercury.Suggestion?
local function make_suggestion(item)
  if type(item.insert_text) ~= "string" or not shown_place then
    return nil
  end
  local start, stop = shown_place.col, shown_place.col
  if item.range then
    local _, first, _, last = item.range:to_extmark()
    start, stop = first, last
  end
  return {
    buf = vim.api.nvim_get_current_buf(),
    client_id = item.client_id,
    row = shown_place.row,
    col = start,
    text = (item.insert_text:gsub("\r\n?", "\n")),
    tail = shown_place.tail,
    replaced = math.max(0, stop - shown_place.col),
    command = item.command,
  }
end

--- Take the suggestion that Neovim shows, which is then no longer shown. Neovim accepts a snippet itself, but only
--- other servers send snippets.
---@return mercury.Suggestion? nil if Neovim shows nothing
---@return boolean? accepted whether Neovim accepted it
function M.take()
  local done, taken, accepted = false, nil, nil
  local is_shown = vim.lsp.inline_completion.get({
    on_accept = function(item)
      done, taken = true, make_suggestion(item)
      accepted = not taken
      return accepted and item or nil
    end,
  })
  if is_shown then
    -- Neovim hands the item over asynchronously; wait, so that the next key finds it done.
    vim.wait(200, function()
      return done
    end, 1)
  end
  return taken, accepted
end

--- Track the places of requests, and report answers.
---@param on_answer fun() called when an answer is about to be shown
function M.watch(on_answer)
  local group = vim.api.nvim_create_augroup("mercury.native", {})
  vim.api.nvim_create_autocmd("LspRequest", {
    group = group,
    callback = function(event)
      local request, key = event.data.request, event.data.client_id .. ":" .. event.data.request_id
      if request.method ~= METHOD then
        return
      elseif request.type == "pending" and request.bufnr == vim.api.nvim_get_current_buf() then
        request_places[key] = suggestion.here()
      elseif request.type == "complete" then
        shown_place, request_places[key] = request_places[key] or shown_place, nil
        vim.schedule(on_answer)
      elseif request.type == "cancel" then
        request_places[key] = nil
      end
    end,
  })
  if server.options.menu == "hide" then
    menu.watch(function(open)
      local buf = vim.api.nvim_get_current_buf()
      if server.client(buf) then
        vim.lsp.inline_completion.enable(not open, { bufnr = buf })
      end
    end)
  end
end

--- Let Neovim request and draw ghost text in a buffer.
---@param buf integer
function M.enable(buf)
  vim.lsp.inline_completion.enable(true, { bufnr = buf })
end

return M
