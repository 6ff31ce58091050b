#include "server/hub.h"

// After hub.h, which has what Boost's headers forget.
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <chrono>

#include "server/log.h"

namespace saccade::server {
namespace {

constexpr auto kTimeout = std::chrono::seconds(10);
constexpr auto kHealth = "/healthz";
constexpr auto kContentPolicy =
    "default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'";

std::string_view view_of(beast::string_view text) { return {text.data(), text.size()}; }

/// A connection until its first request is answered.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(tcp::socket socket, Hub& hub) : stream_(std::move(socket)), hub_(hub) {
    ++hub_.http_sessions;
  }
  ~HttpSession() { --hub_.http_sessions; }

  void start() {
    stream_.expires_after(kTimeout);
    http::async_read(stream_, buffer_, parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) {
                       if (!error) self->answer();
                     });
  }

 private:
  void answer() {
    const HttpRequest& request = parser_.get();
    const std::string_view target = view_of(request.target());
    const std::string_view path = target.substr(0, target.find('?'));
    if (path != kHealth && !hub_.access.allows(view_of(request[http::field::authorization]))) {
      log_line("warning", "unauthorized", {{"path", path.substr(0, 100)}});
      return respond({401, "text/plain; charset=utf-8", "The API key is missing or wrong.\n"});
    }
    if (beast::websocket::is_upgrade(request) && path != kHealth) return upgrade();
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      return respond({405, "text/plain; charset=utf-8", "Only GET and HEAD are answered.\n"});
    }
    respond(hub_.service.page(path));
  }

  void upgrade() {
    if (hub_.draining || hub_.web_sockets.size() >= std::size_t(hub_.options.max_connections)) {
      log_line("warning", "full", {{"connections", hub_.web_sockets.size()}});
      return respond({503, "text/plain; charset=utf-8",
                      "There are too many connections (--max-connections).\n"});
    }
    stream_.expires_never();
    start_websocket_session(std::move(stream_), parser_.get(), hub_);
  }

  void respond(Page page) {
    response_.result(unsigned(page.status));
    response_.set(http::field::content_type, page.type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    response_.set("Content-Security-Policy", kContentPolicy);
    if (page.status == 401) {
      response_.set(http::field::www_authenticate, "Basic realm=\"saccade\", charset=\"UTF-8\"");
    }
    response_.keep_alive(false);
    response_.content_length(page.body.size());
    if (parser_.get().method() != http::verb::head) response_.body() = std::move(page.body);
    stream_.expires_after(kTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, std::size_t) {
                        if (!error)
                          self->stream_.socket().shutdown(tcp::socket::shutdown_send, error);
                      });
  }

  beast::tcp_stream stream_;
  Hub& hub_;
  beast::flat_buffer buffer_;
  http::request_parser<http::empty_body> parser_;
  http::response<http::string_body> response_;
};

}  // namespace

void start_http_session(tcp::socket socket, Hub& hub) {
  std::make_shared<HttpSession>(std::move(socket), hub)->start();
}

}  // namespace saccade::server
