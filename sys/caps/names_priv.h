// Which service a name means. A token guards the table: it is looked at when somebody offers a service or connects.
#pragma once

#include "kernel/lwkt/token.h"
#include "sys/caps/service.h"

namespace caps {

struct wish;

// 1 to longest_name letters, digits, '_', '.' and '-'.
bool is_good_name(std::string_view name) noexcept;

struct service_name {
    using type = std::string_view;
    type operator()(const service& s) const noexcept { return s.name(); }
};

class name_table {
  public:
    // EEXIST.
    k::status add(service& s) noexcept;
    void remove(service& s) noexcept;
    // A service that fits. ENOENT: there is none of this name; EACCES: none that admits this client, or that it seeks;
    // and as in `waiting`, if it is to wait for one to appear.
    k::result<service_ref> find(const wish& w, const waiting& how) noexcept;

  private:
    using hook = boost::intrusive::set_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;
    using set = boost::intrusive::multiset<service, boost::intrusive::member_hook<service, hook, &service::name_link_>,
                                           boost::intrusive::key_of_value<service_name>>;

    k::result<service_ref> find_now(const wish& w) noexcept;

    lwkt::token token_;
    set services_ GUARDED_BY(token_);
    std::atomic<k::u64> additions_ = 0;
    lwkt::wait_queue appeared_;
};

name_table& the_names() noexcept;

} // namespace caps
