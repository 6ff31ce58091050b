#include "server/hub.h"

// After hub.h, which has what Boost's headers forget.
#include <boost/asio/post.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <chrono>

#include "server/log.h"
#include "server/message_pool.h"

namespace saccade::server {
namespace {

namespace websocket = beast::websocket;

constexpr std::size_t kReadBytes = std::size_t{1} << 20;
constexpr std::size_t kAheadBytes = 4096;
constexpr auto kErrorReason = "Internal server error. Traceback included in previous frame.";

}  // namespace

/// One client: metadata, then an observation and its actions in turn. A read is always pending, so
/// that pings are answered during inference; what a client sends ahead of its reply stays in the
/// socket but for the first piece.
class WebSocketSession : public std::enable_shared_from_this<WebSocketSession> {
 public:
  WebSocketSession(beast::tcp_stream stream, Hub& hub) : socket_(std::move(stream)), hub_(hub) {}

  void start(const HttpRequest& request) {
    beast::error_code error;
    const auto peer = beast::get_lowest_layer(socket_).socket().remote_endpoint(error);
    std::ostringstream name;
    if (!error) name << peer;
    hub_.web_sockets.insert(shared_from_this());
    id_ = hub_.service.open_connection(name.str());

    // As the `websockets` library's defaults: a ping every 20 s, which must be answered in 20 s.
    websocket::stream_base::timeout timeout{};
    timeout.handshake_timeout = std::chrono::seconds(5);
    timeout.idle_timeout = std::chrono::seconds(40);
    timeout.keep_alive_pings = true;
    socket_.set_option(timeout);
    socket_.read_message_max(hub_.options.max_message_bytes);
    socket_.auto_fragment(false);
    socket_.async_accept(request, [self = shared_from_this()](beast::error_code error) {
      if (error) return self->end(error);
      self->accepted_ = true;
      self->send({self->hub_.service.metadata()});
    });
  }

  void drain() {
    if (!accepted_) return beast::get_lowest_layer(socket_).close();
    if (!busy_) close(websocket::close_code::going_away, "");
  }

 private:
  void read() {
    reading_ = true;
    socket_.async_read_some(message_ ? *message_ : ahead_, message_ ? kReadBytes : kAheadBytes,
                            [self = shared_from_this()](beast::error_code error, std::size_t) {
                              self->reading_ = false;
                              if (error) return self->end(error);
                              if (!self->busy_ && !self->closing_) self->proceed();
                            });
  }

  /// Goes on after a read, whose bytes may lie ahead of the message.
  void proceed() {
    if (!message_) message_ = messages_.take();
    const asio::const_buffer ahead = ahead_.cdata();
    message_->commit(asio::buffer_copy(message_->prepare(ahead.size()), ahead));
    ahead_.clear();
    socket_.is_message_done() ? submit() : read();
  }

  void submit() {
    busy_ = true;
    const Clock::time_point received = Clock::now();
    const bool is_text = socket_.got_text();
    const std::shared_ptr<MessageBuffer> message = std::exchange(message_, nullptr);
    read();
    const asio::const_buffer bytes = message->cdata();
    auto done = [session = weak_from_this(), &io = hub_.io](Reply reply) {
      asio::post(io, [session, reply = std::move(reply)]() mutable {
        const auto self = session.lock();
        if (self && !self->ended_) self->send(std::move(reply));
      });
    };
    hub_.service.submit({id_, Bytes(static_cast<const std::byte*>(bytes.data()), bytes.size()),
                         message, message->capacity(), is_text, received, previous_total_ms_,
                         abandoned_, std::move(done)});
  }

  void send(Reply reply) {
    busy_ = true;
    outgoing_ = std::move(reply);
    socket_.text(outgoing_.is_error);
    socket_.async_write(asio::buffer(outgoing_.payload),
                        [self = shared_from_this()](beast::error_code error, std::size_t) {
                          error ? self->end(error) : self->on_sent();
                        });
  }

  void on_sent() {
    busy_ = false;
    // As openpi's server: from the wait for an observation to the end of its reply.
    const Clock::time_point now = Clock::now();
    if (metadata_sent_) previous_total_ms_ = milliseconds_between(waiting_since_, now);
    waiting_since_ = now;
    if (!hub_.service.device_failure().empty()) hub_.drain();
    if (outgoing_.closes) return close(websocket::close_code::internal_error, kErrorReason);
    if (hub_.draining) return close(websocket::close_code::going_away, "");
    if (!metadata_sent_) {
      metadata_sent_ = true;
      read();
    } else if (!reading_) {
      proceed();
    }
  }

  void close(websocket::close_code code, const char* reason) {
    if (closing_) return;
    closing_ = true;
    socket_.async_close({code, reason},
                        [self = shared_from_this()](beast::error_code error) { self->end(error); });
  }

  /// The connection is over, for whatever reason; reads and writes may both find out.
  void end(beast::error_code error) {
    if (ended_) return;
    ended_ = true;
    *abandoned_ = true;
    if (error && error != websocket::error::closed) {
      log_line("warning", "lost", {{"connection", id_}, {"error", error.message()}});
    }
    hub_.service.close_connection(id_);
    hub_.remove(shared_from_this());
  }

  websocket::stream<beast::tcp_stream, false> socket_;  // no permessage-deflate, as openpi
  Hub& hub_;
  std::uint64_t id_ = 0;
  MessagePool messages_;
  std::shared_ptr<MessageBuffer> message_;  // what is read; null until its first piece is there
  MessageBuffer ahead_;                     // that piece
  Reply outgoing_;
  bool accepted_ = false;
  bool metadata_sent_ = false;
  bool reading_ = false;
  bool busy_ = false;  // a request is with the service, or something is written
  bool closing_ = false;
  bool ended_ = false;
  std::shared_ptr<std::atomic<bool>> abandoned_ = std::make_shared<std::atomic<bool>>(false);
  Clock::time_point waiting_since_;
  std::optional<double> previous_total_ms_;
};

void start_websocket_session(beast::tcp_stream stream, const HttpRequest& request, Hub& hub) {
  std::make_shared<WebSocketSession>(std::move(stream), hub)->start(request);
}

void drain_session(WebSocketSession& session) { session.drain(); }

}  // namespace saccade::server
