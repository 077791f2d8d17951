-- Asks Portcullis whether a request may pass (forward-auth), for HAProxy 2.6 and later. See docs/forward-auth.md.
--
--   global
--     lua-load /etc/haproxy/portcullis.lua
--   backend app
--     http-request lua.portcullis http://127.0.0.1:8080/auth/verify

local TIMEOUT_MS = 5000

-- The headers of the answer that the app gets. Whatever the client sent under these names is removed first, in every spelling.
-- Add the names of headers.identity and tokens.claims where the configuration of Portcullis sets others.
local COPIED = {
  "x-auth-user", "x-auth-email", "x-auth-roles", "x-auth-session", "x-auth-assertion",
  "cookie", "authorization", "x-api-key", "sec-websocket-protocol", "x-request-id",
}

-- They are about one connection, or about the body, which Portcullis does not read.
local CONNECTION = {
  ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["te"] = true, ["trailer"] = true,
  ["transfer-encoding"] = true, ["content-length"] = true, ["upgrade"] = true, ["expect"] = true,
}

-- Only this file sets them. The client's values are not passed on.
local OWN = {
  ["x-original-method"] = true, ["x-original-uri"] = true, ["x-forwarded-for"] = true, ["x-forwarded-proto"] = true, ["forwarded"] = true,
}

-- X_Auth.User reaches CGI, WSGI and PHP applications as the same variable as X-Auth-User.
local function fold(name)
  return (name:lower():gsub("[^a-z0-9]+", "-"):gsub("^-", ""):gsub("-$", ""))
end

local copied = {}
for _, name in ipairs(COPIED) do copied[fold(name)] = true end

-- The lists of HAProxy begin at 0.
local function each(values, run)
  local i = 0
  while values[i] ~= nil do
    run(values[i])
    i = i + 1
  end
end

local function question(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not CONNECTION[name] and not OWN[name] then
      local list = {}
      each(values, function(value) list[#list + 1] = value end)
      headers[name] = list
    end
  end
  headers["x-original-method"] = { txn.sf:method() }
  headers["x-original-uri"] = { txn.sf:url() }
  headers["x-forwarded-for"] = { txn.sf:src() }
  headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
  return headers
end

local function refuse(txn, answer)
  local reply = txn:reply({ status = answer.status, body = answer.body or "" })
  for name, values in pairs(answer.headers or {}) do
    if not CONNECTION[name] then each(values, function(value) reply:add_header(name, value) end) end
  end
  txn:done(reply)
end

local function allow(txn, answer)
  for name in pairs(txn.http:req_get_headers()) do
    local folded = fold(name)
    if copied[folded] or folded:sub(1, 7) == "x-auth-" then txn.http:req_del_header(name) end
  end
  for _, name in ipairs(COPIED) do
    each(answer.headers[name] or {}, function(value)
      if value ~= "" then txn.http:req_add_header(name, value) end
    end)
  end
end

core.register_action("portcullis", { "http-req" }, function(txn, url)
  local headers = question(txn)
  -- without it, the question would have the host of its own address
  if headers.host == nil or #headers.host ~= 1 then return refuse(txn, { status = 400 }) end
  local answer = core.httpclient():get({ url = url, headers = headers, timeout = TIMEOUT_MS })
  if answer == nil or answer.status == nil or answer.status < 200 then
    txn:Warning("Portcullis does not answer at " .. url)
    return refuse(txn, { status = 503, headers = { ["cache-control"] = { [0] = "no-store" } } })
  end
  if answer.status == 200 then return allow(txn, answer) end
  refuse(txn, answer)
end, 1)
