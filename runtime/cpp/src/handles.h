// What the opaque types of fastbert.h are.
#pragma once

#include <memory>

#include "fastbert.h"
#include "model.h"
#include "session.h"

struct fastbert_model {
  std::shared_ptr<const fastbert::Model> model;
};

struct fastbert_session {
  fastbert::Session session;
};
