// Where things stand in an example.

#include <memory>

#include "common/data/tokenizer.h"
#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/_skeleton/my_task/my_task.pb.h"
#include "plugins/task.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;

TEST(MyTaskTest, TheMarkStandsAtTheDepthAndItsValueIsTheAnswer) {
  google::protobuf::Any any;
  any.PackFrom(MyTaskConfig());
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Task> facts,
                          Registry<Task>::Get().Create(any, TaskArgs()));
  const ByteTokenizer tokenizer(facts->special_tokens());
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Task> task,
                          Registry<Task>::Get().Create(any, TaskArgs{&tokenizer}));
  ExampleRequest request;
  request.length = 13;
  for (const int64_t place : {0, 5, 10}) {
    request.depth = 10.0 * static_cast<double>(place);
    LR_ASSERT_OK_AND_ASSIGN(const Example example, task->Make(request, 3));
    ASSERT_EQ(example.ids.size(), 13u);
    EXPECT_EQ(example.ids[place], *tokenizer.SpecialId("<mark>"));
    EXPECT_EQ(example.ids.back(), *tokenizer.SpecialId("<query>"));
    EXPECT_EQ(example.target.back(), example.ids[place + 1]);
    EXPECT_THAT(example.answer_rows, ElementsAre(12));
    EXPECT_EQ(example.axes.at("depth"), request.depth);
  }
}

}  // namespace
}  // namespace longrange
